"""Tables that wrap words and never cut a path or a number."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text


def table(rows: Sequence[Mapping[str, object]], *, numbers: Collection[str] = (), title: str = "") -> Table:
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
            no_wrap=number or (index == 0 and _is_short(rows, column)),
            overflow="fold",
        )
    for row in rows:
        drawn.add_row(*(Text(str(row[column])) for column in columns))
    return drawn


def _is_short(rows: Sequence[Mapping[str, object]], column: str) -> bool:
    return max(len(str(row[column])) for row in rows) <= 30


def records(rows: Sequence[Mapping[str, str]]) -> Table:
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
    return drawn


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
