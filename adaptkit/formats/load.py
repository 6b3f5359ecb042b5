"""From a recipe to samples: pick the format, map its columns to modalities and tasks, check what came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adaptkit.data.rows import FORMATS, Column
from adaptkit.data.sample import DataSet, Samples
from adaptkit.errors import DataError
from adaptkit.recipe.cells import TARGET, VALUE
from adaptkit.recipe.located import located

if TYPE_CHECKING:
    from adaptkit.recipe import ModalityTable, Recipe
    from adaptkit.recipe.task import TaskTable

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
    columns = merged(inputs, targets)
    where = recipe.where("data.format")
    if given is not None:
        from adaptkit.formats.map_style import WHERE, read_map_style  # only Python hands data over

        table, where = read_map_style(given, recipe.base, columns), WHERE
    else:
        read = FORMATS.named(recipe.data.format, where=where)
        with located(recipe, table="data."):
            table = read(recipe.data, recipe.base, columns)
    for split, rows in table.splits.items():
        if not rows:
            raise DataError(f"the split {split} has no samples.", where=where)
    names = {task: column.name for task, column in targets.items()}
    sources = {task: source for task, column in targets.items() for source in column.sources if given is None}
    splits = {split: Samples(rows, names_of(inputs), names, sources) for split, rows in table.splits.items()}
    labels = {task: tuple(table.classes[column]) for task, column in names.items() if column in table.classes}
    holding = tuple(column.name for column in columns if column.form.holds == "file")
    return DataSet(splits, table.hash, table.description, labels, holding, tuple(table.files))


def without_labels(tasks: Mapping[str, TaskTable]) -> list[str]:
    """The tasks whose labels the data has to tell."""
    return [name for name, task in tasks.items() if getattr(task, "labels", ()) is None]


def input_columns(recipe: Recipe) -> Columns:
    """Modality -> the column it is read from, or those of a table; none for what `drop` makes absent."""
    return {
        name: columns_of(name, modality) for name, modality in recipe.modality.items() if name not in recipe.data.drop
    }


def target_columns(recipe: Recipe) -> dict[str, Column]:
    """Task -> the column it is read from."""
    several, said = recipe.data.sources_of_tasks(recipe.task), conversation_of(recipe)
    answers = None if said is None else recipe.modality[said].column or said
    return {
        name: Column(
            task.column or (answers if task.generates else None) or name,
            TARGET,
            many=task.many,
            sources=several.get(name, ()),
        )
        for name, task in recipe.task.items()
    }


def conversation_of(recipe: Recipe) -> str | None:
    """The modality that the backbone reads and that holds the answers to itself, too."""
    found = [name for name, table in recipe.modality.items() if table.holds_answers and table.route == "backbone"]
    return found[0] if found else None


def columns_of(name: str, modality: ModalityTable) -> Column | tuple[Column, ...]:
    """The column that a modality is read from, or those of a table."""
    cells = modality.cells
    if cells:
        return tuple(Column(column, VALUE, required=False) for column in cells)
    required = modality.missing == "error"
    return Column(modality.column or name, modality.cell_form, required, kind=modality.kind, reads=modality.reads)


def merged(inputs: Columns, targets: Mapping[str, Column]) -> tuple[Column, ...]:
    """Every column once. One that several modalities or tasks read is checked as each of them wants."""
    every: list[Column] = []
    for found in (*inputs.values(), *targets.values()):
        every += [found] if isinstance(found, Column) else found
    merged: dict[str, Column] = {}
    for column in every:
        known = merged.get(column.name)
        if known is None:
            merged[column.name] = column
        elif known.form.holds in ("value", "target"):
            required, many = column.required or known.required, column.many or known.many
            sources = (*known.sources, *column.sources) if known.sources and column.sources else ()
            merged[column.name] = replace(column, required=required, many=many, sources=sources)
        else:
            merged[column.name] = replace(known, required=known.required or column.required)
    return tuple(merged.values())


def names_of(columns: Columns) -> dict[str, str | tuple[str, ...]]:
    """Modality -> the name of its column, or those of a table."""
    return {
        name: found.name if isinstance(found, Column) else tuple(column.name for column in found)
        for name, found in columns.items()
    }
