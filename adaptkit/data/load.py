"""From a recipe to samples: pick the format, map its columns to modalities and tasks, check what came."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptkit.data.formats import FORMATS, Column
from adaptkit.data.formats.jsonl import read_manifest
from adaptkit.data.map_style import WHERE, read_map_style
from adaptkit.data.sample import DataSet, Samples
from adaptkit.errors import DataError
from adaptkit.recipe.located import located

if TYPE_CHECKING:
    from adaptkit.recipe import Modality, Recipe

Columns = Mapping[str, "Column | tuple[Column, ...]"]


def load_data(recipe: Recipe, given: Any = None) -> DataSet:
    """All splits of `[data]`, lazily: what is wrong is found now, the samples are read when they are asked for.

    Args:
        recipe: with the columns that are read.
        given: data to take instead; see `read_map_style`.

    Raises:
        DataError: a missing file or column, an absent value that is needed, a split without samples.
        RecipeError: an unknown format.
    """
    inputs, targets = input_columns(recipe), target_columns(recipe)
    columns = _merged(inputs, targets)
    where = recipe.where("data.format")
    if given is not None:
        table, where = read_map_style(given, recipe.base, columns), WHERE
    else:
        read = FORMATS.named(recipe.data.format, where=where)
        with located(recipe, table="data."):
            table = read(recipe.data, recipe.base, columns)
    for split, rows in table.splits.items():
        if not rows:
            raise DataError(f"the split {split} has no samples.", where=where)
    names = {task: column.name for task, column in targets.items()}
    splits = {split: Samples(rows, _names(inputs), names) for split, rows in table.splits.items()}
    labels = {task: tuple(table.classes[column]) for task, column in names.items() if column in table.classes}
    return DataSet(splits, table.hash, table.description, labels)


def load_samples(recipe: Recipe, path: Path) -> Samples:
    """Samples without targets from a .jsonl file, for prediction. Paths in it start from its folder.

    Raises:
        DataError: as for the format `jsonl`.
    """
    inputs = input_columns(recipe)
    rows = read_manifest(path, path.resolve().parent, _merged(inputs, {}))
    return Samples(rows, _names(inputs), {})


def input_columns(recipe: Recipe) -> Columns:
    """Modality -> the column it is read from, or those of a table; none for what `drop` makes absent."""
    return {
        name: _input(name, modality, needed=modality.missing == "error")
        for name, modality in recipe.modality.items()
        if name not in recipe.data.drop
    }


def target_columns(recipe: Recipe) -> dict[str, Column]:
    """Task -> the column it is read from."""
    return {
        name: Column(task.column or name, "target", many=task.kind == "multilabel")
        for name, task in recipe.task.items()
    }


def _input(name: str, modality: Modality, *, needed: bool) -> Column | tuple[Column, ...]:
    if modality.kind == "table" and modality.column is None:
        return tuple(Column(column, "cell", required=False) for column in (*modality.columns, *modality.categorical))
    return Column(modality.column or name, modality.kind, required=needed)


def _merged(inputs: Columns, targets: Mapping[str, Column]) -> tuple[Column, ...]:
    """Every column once. One that several modalities or tasks read is checked as each of them wants."""
    every: list[Column] = []
    for found in (*inputs.values(), *targets.values()):
        every += [found] if isinstance(found, Column) else found
    merged: dict[str, Column] = {}
    for column in every:
        known = merged.get(column.name)
        if known is None or known.kind in ("cell", "target"):
            required, many = (
                column.required or bool(known and known.required),
                column.many or bool(known and known.many),
            )
            merged[column.name] = Column(column.name, column.kind, required, many)
        else:
            merged[column.name] = Column(known.name, known.kind, known.required or column.required, known.many)
    return tuple(merged.values())


def _names(columns: Columns) -> dict[str, str | tuple[str, ...]]:
    return {
        name: found.name if isinstance(found, Column) else tuple(column.name for column in found)
        for name, found in columns.items()
    }
