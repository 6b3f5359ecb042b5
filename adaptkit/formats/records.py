"""Samples that are plain dicts in memory: their keys are columns, as in files, or modalities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from adaptkit.data.rows import Column
from adaptkit.data.sample import Sample
from adaptkit.errors import DataError, nearest
from adaptkit.formats.load import columns_of, target_columns

if TYPE_CHECKING:
    from adaptkit.recipe import Recipe

Record = Mapping[str, Any]
Readers = Mapping[str, list[tuple[str, str | None]]]  # key -> (modality, its cell; None for all of it)


def read_records(recipe: Recipe, records: Iterable[Record]) -> Iterator[Sample]:
    """Dicts as samples without targets, lazily.

    A key is a column, as in files, or else the name of a modality: that of a table holds all its cells. Columns of
    targets are ignored.

    Args:
        recipe: names columns, modalities and targets.
        records: column or modality -> raw value; what lacks a key, or has None there, lacks the modality. `id` names
            the sample; by default its index.

    Raises:
        DataError: naming the sample: no dict, an unknown key, a modality given twice.
    """
    readers = _readers(recipe)
    ignored = {"id", *(column.name for column in target_columns(recipe).values())}
    for index, record in enumerate(records):
        if not isinstance(record, Mapping):
            what = f"this is of type {type(record).__name__}, not a dict."
            raise DataError(what, where=f"sample {index}", hint='Write {"column": value, ...}.')
        named = record.get("id")
        sample = str(index if named is None else named)
        laid = recipe.data.record(record, f"sample {sample}", [*readers])
        yield Sample(sample, _inputs(laid, readers, ignored, f"sample {sample}"), {})


def _readers(recipe: Recipe) -> Readers:
    found: dict[str, list[tuple[str, str | None]]] = defaultdict(list)
    for name, modality in recipe.modality.items():
        columns = columns_of(name, modality)
        if isinstance(columns, Column):
            found[columns.name].append((name, None))
            continue
        for column in columns:
            found[column.name].append((name, column.name))
    for name in recipe.modality.keys() - found.keys():
        found[name] = [(name, None)]
    return dict(found)


def _inputs(record: Record, readers: Readers, ignored: set[str], where: str) -> dict[str, Any]:
    """Modality -> raw value, of a table a dict of its cells."""
    whole: dict[str, Any] = {}
    tables: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in record.items():
        if key not in readers and key not in ignored:
            raise DataError(f"the recipe has no column {key!r}.", where=where, hint=nearest(str(key), readers))
        for name, cell in readers.get(key, ()):
            if name in whole or (cell is None and name in tables):
                raise DataError(
                    f"{name} is given twice, once as {key!r}.", where=where, hint="Name the column or the modality."
                )
            if cell is None:
                whole[name] = value
            else:
                tables[name][cell] = value
    return {**whole, **tables}
