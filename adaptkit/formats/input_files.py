"""From a recipe and a file without targets to samples, for prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptkit.data.rows import Column, Row
from adaptkit.data.sample import Sample, Samples, sample_of
from adaptkit.errors import DataError, UsageError
from adaptkit.formats.csv_files import csv_rows
from adaptkit.formats.jsonl import jsonl_rows, read_manifest
from adaptkit.formats.load import input_columns, merged, names_of
from adaptkit.formats.parquet import parquet_rows

if TYPE_CHECKING:
    from adaptkit.recipe import Recipe

SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")  # of files that `load_samples` reads


def load_samples(recipe: Recipe, path: Path) -> Samples:
    """Samples without targets from one file, for prediction, lazily. Paths in it start from its folder.

    Args:
        recipe: names the columns. Others in the file, and ids that are there twice, are fine.
        path: .jsonl, .csv, .tsv or .parquet. A .csv is separated by the recipe's `data.delimiter` where it has one.

    Raises:
        UsageError: a file of another kind.
        DataError: as for the formats of these names.
    """
    inputs = input_columns(recipe)
    columns, root, suffix = merged(inputs, {}), path.resolve().parent, checked_suffix(path)
    rows: Sequence[Row]
    if suffix == ".jsonl":
        rows = read_manifest(path, root, columns, lay=_lay(recipe, columns))
    elif suffix == ".parquet":
        rows = parquet_rows(path, root, columns)
    else:
        comma = getattr(recipe.data, "delimiter", ",")
        rows = csv_rows(path, root, columns, delimiter="\t" if suffix == ".tsv" else comma)
    if not rows:
        raise DataError("the file has no rows.", where=str(path))
    return Samples(rows, names_of(inputs), {})


def stream_samples(recipe: Recipe, lines: Iterable[bytes], name: str) -> Iterator[Sample]:
    """Samples without targets from lines of JSON, each read when it is asked for. Paths start from the current folder.

    Args:
        recipe: names the columns.
        lines: each a JSON object.
        name: of their source, for errors.

    Raises, while iterating:
        DataError: as `load_samples`; that no line had a column is known at the end.
    """
    inputs = input_columns(recipe)
    names, columns = names_of(inputs), merged(inputs, {})
    for row in jsonl_rows(lines, name, Path().resolve(), columns, lay=_lay(recipe, columns)):
        yield sample_of(row, names, {})


def _lay(recipe: Recipe, columns: Sequence[Column]) -> Callable[[Mapping[str, Any], str], Mapping[str, Any]]:
    """A record of a file as the recipe's format lays it out."""
    return partial(recipe.data.record, columns=tuple(column.name for column in columns))


def checked_suffix(path: Path) -> str:
    """The suffix of a file that `load_samples` reads.

    Raises:
        UsageError: it has another one.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        message = f"cannot read {path.suffix or 'a file without suffix'}."
        raise UsageError(message, where=str(path), hint=f"Possible: {', '.join(SUFFIXES)}.")
    return suffix
