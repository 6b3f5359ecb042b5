"""Findings and statistics of data as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console

from adaptkit.cli.tables import several, table

Splits = Mapping[str, Mapping[str, Any]]
MANY = 25  # labels that a table may have


def show_findings(out: Console, found: Any) -> None:
    """Counts, the balance of labels, warnings; the problems follow on stderr."""
    _columns(out, found.splits)
    _labels(out, found.splits)
    for note in found.notes:
        out.print(f"note: the import: {note}", soft_wrap=True)
    for warning in found.warnings:
        out.print(f"warning: {warning}", soft_wrap=True)
    if found.splits and not found.problems:
        samples = sum(split["samples"] for split in found.splits.values())
        out.print(f"ok: {several(samples, 'sample')}, {several(len(found.warnings), 'warning')}", soft_wrap=True)


def show_statistics(out: Console, splits: Splits) -> None:
    """Counts, the balance of labels, and the distribution of every length and number."""
    _columns(out, splits)
    _labels(out, splits)
    rows = [
        {"split": split, "column": name, "of": what, **{key: _short(value) for key, value in numbers.items()}}
        for split, report in splits.items()
        for name, column in report["columns"].items()
        for what, numbers in column.items()
        if isinstance(numbers, Mapping) and {"median", "max"} <= numbers.keys()
    ]
    if rows:
        out.print(table(rows, numbers=tuple(rows[0])[3:]))


def _columns(out: Console, splits: Splits) -> None:
    rows = [
        {
            "split": split,
            "column": name,
            "kind": column["kind"],
            "present": f"{column['present']:,}",
            "missing": f"{column['missing']:,}",
            "facts": "; ".join(_facts(column)),
        }
        for split, report in splits.items()
        for name, column in report["columns"].items()
    ]
    if rows:
        out.print(table(rows, numbers=("present", "missing")))


def _facts(column: Mapping[str, Any]) -> Iterator[str]:
    for key in ("length", "words", "per_sample"):
        if numbers := column.get(key):
            unit = {"length": "long", "words": "words", "per_sample": "per sample"}[key]
            least, most = _short(numbers["min"]), _short(numbers["max"])
            if most != "1":
                yield f"{least} to {most} {unit}" if least != most else f"{least} {unit}"
    if widths := column.get("widths"):
        yield f"width {', '.join(map(str, widths))}"
    if values := column.get("values"):
        yield f"{_short(values['min'])} to {_short(values['max'])}, mean {_short(values['mean'])}"
    if labels := column.get("labels"):
        yield several(len(labels), "label")
    if column.get("cut"):
        yield f"{column['cut']:,} cut at {column['limit']:,}"


def _labels(out: Console, splits: Splits) -> None:
    """One table per column of labels: how often each occurs in each split."""
    names = dict.fromkeys(name for report in splits.values() for name in report["columns"])
    for name in names:
        counts = {
            split: report["columns"][name]["labels"]
            for split, report in splits.items()
            if "labels" in report["columns"].get(name, {})
        }
        labels = sorted({label for found in counts.values() for label in found})
        if labels and len(labels) <= MANY:
            rows = [
                {name: label, **{split: f"{found.get(label, 0):,}" for split, found in counts.items()}}
                for label in labels
            ]
            out.print(table(rows, numbers=tuple(counts)))


def _short(number: float) -> str:
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:,.4g}"
