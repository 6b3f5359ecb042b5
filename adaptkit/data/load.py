"""From a recipe to samples: pick the format, map its columns to modalities and tasks, check what came."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaptkit.data.formats import FORMATS, Column, Row
from adaptkit.data.formats.jsonl import read_manifest
from adaptkit.data.sample import DataSet, Sample
from adaptkit.errors import DataError

if TYPE_CHECKING:
    from adaptkit.recipe import Recipe


def load_data(recipe: Recipe) -> DataSet:
    """All splits of `[data]`.

    Raises:
        DataError: a missing file or column, an absent value that is needed, a split without samples.
        RecipeError: an unknown format.
    """
    read = FORMATS.named(recipe.data.format, where=recipe.where("data.format"))
    inputs, targets = _input_columns(recipe), _target_columns(recipe)
    table = read(recipe.data, recipe.base, tuple({**inputs, **targets}.values()))
    splits = {split: _samples(rows, inputs, targets) for split, rows in table.splits.items()}
    for split, samples in splits.items():
        if not samples:
            raise DataError(f"the split {split} has no samples.", where=recipe.where("data.format"))
    return DataSet(splits, table.hash, table.description)


def load_samples(recipe: Recipe, path: Path) -> list[Sample]:
    """Samples without targets from a .jsonl file, for prediction. Paths in it start from its folder.

    Raises:
        DataError: as for the format `jsonl`.
    """
    inputs = _input_columns(recipe)
    rows = read_manifest(path, path.resolve().parent, tuple(inputs.values()))
    return _samples(rows, inputs, {})


def _input_columns(recipe: Recipe) -> dict[str, Column]:
    return {
        name: Column(modality.column or name, modality.kind, required=modality.missing == "error")
        for name, modality in recipe.modality.items()
    }


def _target_columns(recipe: Recipe) -> dict[str, Column]:
    return {name: Column(task.column or name, "target") for name, task in recipe.task.items()}


def _samples(rows: Sequence[Row], inputs: dict[str, Column], targets: dict[str, Column]) -> list[Sample]:
    return [
        Sample(
            row.id,
            {name: row.values[column.name] for name, column in inputs.items()},
            {name: row.values[column.name] for name, column in targets.items()},
            row.where,
        )
        for row in rows
    ]
