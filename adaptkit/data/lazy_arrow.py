"""Rows of memory-mapped Arrow record batches: reading one costs microseconds, and none of them stays in memory."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from adaptkit.errors import DataError

BATCH = 4096  # rows decoded at a time


class ArrowRows(Sequence[dict[str, Any]]):
    """Rows of Arrow files (file or stream form) as dicts, read through memory maps; can be sent to workers.

    Args:
        files: in order.
        columns: what a row has; all of the files' columns where None.
        owned: the files are temporary and vanish with this object.

    Raises:
        DataError: a file is missing, truncated or no Arrow file.
    """

    def __init__(self, files: Sequence[Path], columns: Sequence[str] | None = None, *, owned: bool = False) -> None:
        self.files = tuple(files)
        self.batches: list[pa.RecordBatch] = []
        for path in self.files:
            self.batches += _batches(path)
        self.schema: pa.Schema | None = self.batches[0].schema if self.batches else None
        self.columns = tuple(columns if columns is not None else self.schema.names if self.schema else ())
        self._ends = np.cumsum([len(batch) for batch in self.batches], dtype=np.int64)
        self._parts = [[batch.column(name) for name in self.columns] for batch in self.batches]
        if owned:
            weakref.finalize(self, _remove, os.getpid(), self.files)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = int(index) + len(self) * (index < 0)
        if not 0 <= index < len(self):
            raise IndexError(index)
        batch = int(np.searchsorted(self._ends, index, side="right"))
        row = index - (int(self._ends[batch - 1]) if batch else 0)
        return {name: column[row].as_py() for name, column in zip(self.columns, self._parts[batch], strict=True)}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for part in self._parts:
            for start in range(0, len(part[0]) if part else 0, BATCH):
                lists = [column.slice(start, BATCH).to_pylist() for column in part]
                for values in zip(*lists, strict=True):
                    yield dict(zip(self.columns, values, strict=True))

    def column(self, name: str) -> Iterator[Any]:
        """The values of one column, in order, decoded a batch at a time."""
        place = self.columns.index(name)
        for part in self._parts:
            for start in range(0, len(part[place]), BATCH):
                yield from part[place].slice(start, BATCH).to_pylist()

    def first_null(self, name: str) -> int | None:
        """The first row without a value in this column."""
        start = 0
        for batch in self.batches:
            valid = batch.column(name).is_valid()
            if valid.false_count:
                return start + valid.index(False).as_py()
            start += len(batch)
        return None

    def __reduce__(self) -> Any:
        return ArrowRows, (self.files, self.columns)


def spooled(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> ArrowRows:
    """Rows of a source that has no random access (Parquet, CSV), decoded once into a temporary Arrow file.

    The file lies in the system's folder for temporary files (TMPDIR) and is removed with the rows.

    Raises:
        DataError: there is no room for it.
    """
    handle, name = tempfile.mkstemp(prefix="adaptkit-", suffix=".arrow")
    try:
        with os.fdopen(handle, "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return ArrowRows([Path(name)], schema.names, owned=True)
    except OSError as error:
        _remove(os.getpid(), [Path(name)])
        raise DataError(
            f"the rows cannot be unpacked: {error.strerror or error}.",
            where=name,
            hint="Point TMPDIR to a folder with more room.",
        ) from None
    except BaseException:
        _remove(os.getpid(), [Path(name)])
        raise


def _batches(path: Path) -> list[pa.RecordBatch]:
    try:
        source = pa.memory_map(str(path), "r")
        try:
            file = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            return list(pa.ipc.open_stream(source))
        return [file.get_batch(number) for number in range(file.num_record_batches)]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"is not a readable Arrow file: {error}.", where=str(path)) from None


def _remove(process: int, files: Sequence[Path]) -> None:
    if os.getpid() == process:  # not in a forked worker, whose parent still reads them
        for path in files:
            path.unlink(missing_ok=True)
