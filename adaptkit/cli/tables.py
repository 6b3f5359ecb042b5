"""Tables that wrap words and never cut a path or a number; those of metrics among them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from adaptkit.evaluation.robustness import Lack

Splits = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Rows:
    """A drawn table for a reader; in a pipe a line per row, with tabs between the cells and the header first."""

    rows: Sequence[Mapping[str, object]]
    drawn: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not getattr(console, "piped", False):
            yield self.drawn
            return
        for cells in ([*self.rows[0]] if self.rows else [], *([*row.values()] for row in self.rows)):
            yield Segment("\t".join(" ".join(str(cell).split()) for cell in cells))  # a Text would expand the tabs
            yield Segment.line()


def table(rows: Sequence[Mapping[str, object]], *, numbers: Collection[str] = (), title: str = "") -> Rows:
    """A table with one column per key of the first row.

    Args:
        rows: like mappings, in order.
        numbers: columns that are aligned right and kept on one line.
        title: a line above the table.
    """
    columns = list(rows[0]) if rows else []
    drawn = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        title=title or None,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        header_style="bold",
    )
    for index, column in enumerate(columns):
        number = column in numbers
        drawn.add_column(
            column,
            justify="right" if number else "left",
            no_wrap=index == 0 and _is_short(rows, column),
            min_width=max(len(str(row[column])) for row in rows) if number else None,  # its title may wrap
            overflow="fold",
        )
    for row in rows:
        drawn.add_row(*(Text(str(row[column])) for column in columns))
    return Rows([{column: row[column] for column in columns} for row in rows], drawn)


def _is_short(rows: Sequence[Mapping[str, object]], column: str) -> bool:
    return max(len(str(row[column])) for row in rows) <= 30


def records(rows: Sequence[Mapping[str, str]]) -> Rows:
    """Rows of prose: the name on the left, and on the right each other key on lines of its own."""
    drawn = Table.grid(padding=(0, 2, 0, 0))
    drawn.add_column(no_wrap=True)
    drawn.add_column(overflow="fold")
    for row in rows:
        name, what, *facts = row.items()
        drawn.add_row(Text(name[1], style="bold"), Text(what[1]))
        for key, value in facts:
            drawn.add_row("", Text(f"{key}: {value}"))
        drawn.add_row()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return Rows([{column: row.get(column, "") for column in columns} for row in rows], drawn)


def aligned(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Header and rows as lines whose last column runs on: for paths, which must stay whole to be copied."""
    columns = list(rows[0])
    widths = [max(len(column), *(len(row[column]) for row in rows)) for column in columns[:-1]]
    for row in [{column: column for column in columns}, *rows]:
        words = [row[column].ljust(width) for column, width in zip(columns, widths, strict=False)]
        yield "  ".join([*words, row[columns[-1]]])


def several(count: int, noun: str) -> str:
    """`1 graft`, `24 grafts`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def metric_table(
    metrics: Splits, ablations: Mapping[str, Splits], std: Splits | None = None, ablations_std: Any = None
) -> Rows:
    """The table.

    Args:
        metrics: split -> metric -> value.
        ablations: what was dropped -> split -> metric -> value.
        std: of `metrics` over several seeds; empty for one.
        ablations_std: likewise of `ablations`.
    """
    columns = {split: (values, (std or {}).get(split, {})) for split, values in metrics.items()}
    for dropped, splits in ablations.items():
        for split, values in splits.items():
            spread = (ablations_std or {}).get(dropped, {}).get(split, {})
            columns[f"{split} without {dropped.replace('+', ', ')}"] = (values, spread)
    names = dict.fromkeys(name for values, _ in columns.values() for name in values)
    rows = [
        {
            "metric": name,
            **{title: number(values.get(name), spread.get(name)) for title, (values, spread) in columns.items()},
        }
        for name in names
    ]
    return table(rows, numbers=tuple(columns))


def robustness_table(lacks: Sequence[Lack], metrics: Sequence[str]) -> Rows:
    """One row per split, dropped modalities and metric; one column per share of the samples that lack them."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for lack in lacks:
        for metric in metrics:
            dropped = ", ".join(lack.dropped)
            row = rows.setdefault((lack.split, dropped, metric), {"split": lack.split, "absent": dropped})
            row |= {"metric": metric, f"in {lack.rate:.4g}": number(lack.metrics.get(metric))}
    return table([*rows.values()], numbers=tuple(dict.fromkeys(f"in {lack.rate:.4g}" for lack in lacks)))


def number(value: float | None, spread: float | None = None) -> str:
    """`0.9412`; mean and standard deviation over seeds as `0.9412 ± 0.0031`; a dash where undefined."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if spread is None else f"{value:.4f} ± {spread:.4f}"
