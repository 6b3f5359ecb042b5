"""Data given in Python instead of `[data]`: map-style datasets of torch, lists of dicts, Hugging Face datasets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adaptkit.data.leaks import content_of
from adaptkit.data.rows import Column, Row, Rows, SplitRows
from adaptkit.errors import DataError, nearest
from adaptkit.formats.hf import ClassNames, classes_of
from adaptkit.formats.values import Presence, checked

WHERE = "data given in Python"
TRAIN, HELD_OUT = "train", ("validation", "test")


def read_map_style(data: Any, base: Path, columns: tuple[Column, ...]) -> SplitRows:
    """Rows of datasets that are there already; every row is looked at once, as in a manifest.

    Args:
        data: a dataset (`len(data)` and `data[index]`, a dict column -> value), or a dict of those: `train`,
            `validation`, and mostly `test` and others named `test_*`. A single one is split: of a permutation that
            depends on its length only, the first tenth (at least one row) is `validation`, the next `test`, the
            rest `train`.
        base: folder that relative paths start from; absolute ones may lie anywhere.
        columns: what is read.

    Raises:
        DataError: no such dataset; a column that no row has, a value that is absent or wrong, naming `data[index]`.
    """
    if isinstance(data, Mapping):
        check_names(data)
        tables = {name: MapStyleRows(each, columns, base, f'data["{name}"]') for name, each in data.items()}
    else:
        parts = split(length(data, "data"))
        tables = {name: MapStyleRows(data, columns, base, "data", indices) for name, indices in parts.items()}
    digest = hashlib.sha256()
    for name, rows in tables.items():
        digest.update(f"{name}\n".encode())
        rows.check(digest)
    counts = ", ".join(f"{name} {len(rows):,}" for name, rows in tables.items())
    return SplitRows(tables, f"sha256:{digest.hexdigest()}", f"{WHERE} ({counts})", tables[TRAIN].classes)


def check_names(splits: Mapping[str, Any]) -> None:
    """Raise DataError where a split is missing, or has a name that nothing reads."""
    known = (TRAIN, *HELD_OUT)
    for name in splits:
        if name not in known and not str(name).startswith("test_"):
            hint = f"{nearest(str(name), known)} Further test splits are named test_*."
            raise DataError(f"there is no split {name!r}.", where=WHERE, hint=hint)
    for name in known[:2]:
        if name not in splits:
            raise DataError(f"the split {name} is missing.", where=WHERE, hint="Or give one dataset: it is split.")


def split(size: int) -> dict[str, list[int]]:
    """Split -> indices, in the order of the data; the same for every dataset of this length."""
    held_out = max(1, size // 10)
    if size < 3:
        raise DataError(f"{size} samples cannot be split into three.", where=WHERE)
    order = np.random.Generator(np.random.PCG64(0)).permutation(size)
    validation, test, train = np.split(order, [held_out, 2 * held_out])
    parts = zip((TRAIN, *HELD_OUT), (train, validation, test), strict=True)
    return {name: np.sort(indices).tolist() for name, indices in parts}


def length(dataset: Any, source: str) -> int:
    if isinstance(dataset, str) or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise DataError(
            f"{source} is a {type(dataset).__name__}, not a map-style dataset.",
            where=WHERE,
            hint="It needs __len__ and __getitem__, which gives a dict column -> value.",
        )
    return len(dataset)


class MapStyleRows(Rows):
    """Rows of a dataset, each taken from it when it is asked for.

    Args:
        dataset: one split, or all of them.
        columns: what is read.
        root: that relative paths start from.
        source: names the dataset in errors.
        indices: the rows that count; None for all.

    Attributes:
        classes: column -> its labels, where a Hugging Face dataset knows them.
    """

    def __init__(
        self,
        dataset: Any,
        columns: tuple[Column, ...],
        root: Path,
        source: str,
        indices: Sequence[int] | None = None,
    ) -> None:
        self.indices = range(length(dataset, source)) if indices is None else indices
        self.columns, self.root, self.source = columns, root.resolve(), source
        self.classes: dict[str, list[str]] = {}
        # Images, sounds and labels as they are stored, unless the user transforms them.
        self.stored = hasattr(dataset, "with_format") and dataset.format["type"] != "custom"
        if self.stored:
            names = {column.name: dataset.features.to_dict().get(column.name) for column in columns}
            self.classes = {name: found for name, each in names.items() if (found := classes_of(each))}
            dataset = dataset.with_format("arrow")
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.indices)

    def row(self, index: int) -> Row:
        return self.read(self.indices[index])[0]

    def check(self, digest: Any) -> None:
        """Look at every row, and add what it holds to a hash.

        Raises:
            DataError: see `read_map_style`.
        """
        presence, named = Presence(self.columns), set()
        for index in self.indices:
            row, names = self.read(index)
            presence.see(dict(row.values), row.where)
            named |= names
            content = json.dumps([row.id, dict(row.values)], default=content_of)
            digest.update(f"{content}\n".encode())
        if len(self):
            presence.check_columns(named, self.source)
            presence.check_required()

    def read(self, index: int) -> tuple[Row, set[str]]:
        """A row of the dataset, and the names of all its columns."""
        where = f"{self.source}[{index}]"
        record = self.dataset[index]
        if self.stored:
            record = record.to_pylist()[0]
        if not isinstance(record, Mapping):
            raise DataError(f"is a {type(record).__name__}, not a dict column -> value.", where=where)
        values = {column.name: self.value(record.get(column.name), column, where) for column in self.columns}
        found = record.get("id")
        return Row(where if found is None else str(found), values, where), set(record)

    def value(self, cell: Any, column: Column, where: str) -> Any:
        """What a cell stands for, in the form that files have it in."""
        if column.name in self.classes:
            cell = ClassNames(self.classes[column.name])(cell, column, where)
        if hasattr(cell, "detach"):
            cell = cell.detach().cpu().numpy()
        if isinstance(cell, np.generic) or (isinstance(cell, np.ndarray) and column.form.holds != "file"):
            cell = cell.tolist()
        if isinstance(cell, np.ndarray | Image.Image):
            return cell
        if isinstance(cell, tuple):
            cell = list(cell)
        if isinstance(cell, Path):
            cell = str(cell.absolute())
        path = cell.get("path") if isinstance(cell, dict) else cell
        anchor = Path(path).anchor if isinstance(path, str) and column.form.holds == "file" else ""
        return checked(cell, column, Path(anchor) if anchor else self.root, where)
