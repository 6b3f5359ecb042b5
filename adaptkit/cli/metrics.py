"""Metrics as tables: one row per metric, one column per split and per ablation; and what is left without a share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from adaptkit.cli.tables import table

if TYPE_CHECKING:
    from adaptkit.evaluation.robustness import Lack

Splits = Mapping[str, Mapping[str, Any]]


def metric_table(
    metrics: Splits, ablations: Mapping[str, Splits], std: Splits | None = None, ablations_std: Any = None
) -> Table:
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


def robustness_table(lacks: Sequence[Lack], metrics: Sequence[str]) -> Table:
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
