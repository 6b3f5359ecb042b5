"""The benchmarks: what `adaptkit data import` made of a download, read lazily from its store."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.benchmarks.table import BenchmarkTable
from adaptkit.data.rows import Column, Row, Rows, SplitRows, files_in
from adaptkit.data.store import Store, StoreRows, find_store, placed
from adaptkit.data.store_writer import FILES
from adaptkit.errors import DataError
from adaptkit.formats.values import absent, root_of
from adaptkit.kinds import MODALITIES, table_of
from adaptkit.recipe import ModalityTable


class StoreFormat:
    """A benchmark as a data format: its store, read lazily. Documented by the benchmark's class."""

    def __init__(self, benchmark: type) -> None:
        functools.update_wrapper(self, benchmark, updated=())

    def __call__(self, data: BenchmarkTable, base: Path, columns: tuple[Column, ...]) -> SplitRows:
        return read_store(data, base, columns)


def read_store(data: BenchmarkTable, base: Path, columns: tuple[Column, ...]) -> SplitRows:
    """The splits of an imported benchmark.

    Raises:
        DataError: it has not been imported, or a column is not there, of another kind, or has gaps.
    """
    root = (base / Path(data.root).expanduser()).resolve()
    download = None if data.download is None else root_of(data.download, base, key="data.download")
    store = find_store(root, data.format, data.variant or "", download=download)
    splits = {split: StoreTable(store, split, columns) for split in store.splits}
    digest = hashlib.sha256(repr(sorted(store.meta["files"].items())).encode()).hexdigest()
    counts = ", ".join(f"{split} {len(rows):,}" for split, rows in splits.items())
    variant = f" {store.meta['variant']}" if store.meta["variant"] else ""
    classes = {name: found for name, found in store.meta["classes"].items() if found}
    return SplitRows(splits, f"sha256:{digest}", f"{data.format}{variant} in {store.folder} ({counts})", classes)


class StoreTable(Rows):
    """The rows of one split of a store.

    Raises:
        DataError: a column that is not there or of another kind, or a required value that is absent.
    """

    def __init__(self, store: Store, split: str, columns: tuple[Column, ...]) -> None:
        self.store, self.split, self.columns = store, split, columns
        self.rows: StoreRows = store.rows(split, [column.name for column in columns])
        self._kinds = {column.name: store.columns[column.name]["kind"] for column in columns}
        self.root = store.root if set(FILES) & set(self._kinds.values()) else store.folder
        for column in columns:
            self._check(column)

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int) -> Row:
        where = f"{self.split}.parquet:{index + 1}"
        cells = self.rows[index]
        values = {
            name: placed(self.root, cells[name], kind, name, where)
            if kind in FILES and cells[name] is not None
            else cells[name]
            for name, kind in self._kinds.items()
        }
        return Row(cells["id"], values, where)

    def column(self, name: str) -> Iterator[Any]:
        """The values of one column; paths are not looked at."""
        return self.rows.column(name)

    def files(self, names: Sequence[str]) -> Iterator[Path]:
        """Those of columns of paths; nothing else is read."""
        for name in (name for name in names if self._kinds[name] in FILES):
            for cell in self.column(name):
                if cell is not None:
                    yield from files_in(placed(self.store.root, cell, self._kinds[name], name, self.split))

    def _check(self, column: Column) -> None:
        kind = self._kinds[column.name]
        if column.reads and kind not in column.reads:
            tables = {name: table_of(found, ModalityTable) for name, found in MODALITIES.kinds.items()}
            fitting = [name for name, table in tables.items() if kind in table.reads]
            fitting = fitting or [name for name, table in tables.items() if not table.reads]
            raise DataError(
                f"the column {column.name!r} holds {kind}, which a modality of kind {column.kind} cannot read.",
                where=str(self.store.folder),
                hint=f"Write kind = {' or '.join(map(repr, fitting))}.".replace("'", '"'),
            )
        if column.required and (index := self._first_gap(column.name)) is not None:
            raise absent(column, f"{self.split}.parquet:{index + 1}")

    def _first_gap(self, name: str) -> int | None:
        if name in self.rows.features:
            gaps = np.flatnonzero(self.rows.features[name].lengths == 0)
            return int(gaps[0]) if len(gaps) else None
        return self.rows.scalars.first_null(name)
