"""Metrics as a table: one row per metric, one column per split and per ablation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from adaptkit.cli.tables import table

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


def number(value: float | None, spread: float | None = None) -> str:
    """`0.9412`; mean and standard deviation over seeds as `0.9412 ± 0.0031`; a dash where undefined."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if spread is None else f"{value:.4f} ± {spread:.4f}"
