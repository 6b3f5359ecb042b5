"""Rows of memory-mapped Arrow record batches: reading one costs microseconds, and none of them stays in memory."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adaptkit.atomic import scratch_file
from adaptkit.errors import DataError

BATCH = 4096  # rows decoded at a time, at most
PAGE = 2**24  # bytes of a Parquet file that are read, and of its rows that are decoded, at a time
READING = (OSError, pa.ArrowException, ValueError, TypeError, KeyError)  # what pyarrow raises for damaged files


class ArrowRows(Sequence[dict[str, Any]]):
    """Rows of Arrow files (file or stream form) as dicts, read through memory maps; can be sent to workers.

    Args:
        files: in order.
        columns: what a row has; all of the files' columns where None.

    Raises:
        DataError: a file is missing, truncated or no Arrow file.
    """

    def __init__(self, files: Sequence[Path], columns: Sequence[str] | None = None) -> None:
        self.files = tuple(files)
        self.batches: list[pa.RecordBatch] = []
        for path in self.files:
            self.batches += _batches(path)
        self.schema: pa.Schema | None = self.batches[0].schema if self.batches else None
        self.columns = tuple(columns if columns is not None else self.schema.names if self.schema else ())
        self._ends = np.cumsum([len(batch) for batch in self.batches], dtype=np.int64)
        self._parts = [[batch.column(name) for name in self.columns] for batch in self.batches]

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
            step = _step(part)
            for start in range(0, len(part[0]) if part else 0, step):
                lists = [column.slice(start, step).to_pylist() for column in part]
                for values in zip(*lists, strict=True):
                    yield dict(zip(self.columns, values, strict=True))

    def column(self, name: str) -> Iterator[Any]:
        """The values of one column, in order, decoded a batch at a time."""
        place = self.columns.index(name)
        for part in self._parts:
            step = _step([part[place]])
            for start in range(0, len(part[place]), step):
                yield from part[place].slice(start, step).to_pylist()

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


def _step(columns: Sequence[pa.Array]) -> int:
    """Rows that are decoded at a time: of pictures and sounds, few."""
    size = sum(column.nbytes for column in columns) / max(1, len(columns[0]) if columns else 0)
    return int(min(BATCH, max(1, PAGE / max(size, 1))))


def spooled(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> ArrowRows:
    """Rows of a source that has no random access (Parquet, CSV), decoded once into a temporary Arrow file.

    The file lies in the system's folder for temporary files (TMPDIR) and is removed with the rows. What killed
    processes have left there goes first.

    Raises:
        DataError: there is no room for it.
    """
    path, handle = scratch_file("adaptkit-", ".arrow")
    try:
        with path.open("wb") as file, pa.ipc.new_file(file, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        rows = ArrowRows([path], schema.names)
    except OSError as error:
        _remove(os.getpid(), path, handle)
        raise DataError(
            f"the rows cannot be unpacked: {error.strerror or error}.",
            where=str(path),
            hint="Point TMPDIR to a folder with more room.",
        ) from None
    except BaseException:
        _remove(os.getpid(), path, handle)
        raise
    weakref.finalize(rows, _remove, os.getpid(), path, handle)
    return rows


def unpacked_parquet(path: Path, columns: Callable[[pa.Schema], list[str]]) -> ArrowRows:
    """Columns of a Parquet file, streamed into a temporary Arrow file: neither it nor a row group is in memory.

    Args:
        path: of the file.
        columns: from its schema to the names that are read.

    Raises:
        DataError: it is missing or damaged; where it is known, the rows behind which it cannot be read.
    """
    try:
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=PAGE)
        names = columns(file.schema_arrow)
        schema = pa.schema([file.schema_arrow.field(name) for name in names])
    except FileNotFoundError:
        raise DataError(f"the file {path} does not exist.", where=path.name) from None
    except READING as error:
        raise _damaged(path, error) from None
    with file:
        return spooled(_streamed(file, names, path), schema)


def _streamed(file: pq.ParquetFile, names: list[str], path: Path) -> Iterator[pa.RecordBatch]:
    read = 0
    batches = file.iter_batches(batch_size=_rows_at_once(file.metadata, names), columns=names, use_threads=False)
    while True:
        try:
            batch = next(batches, None)
            if batch is not None:
                batch.validate(full=True)  # text that is not UTF-8 would fail much later
        except READING as error:
            raise _damaged(path, error, f" behind row {read:,}") from None
        if batch is None:
            return
        yield batch
        read += len(batch)


def _rows_at_once(metadata: Any, names: list[str]) -> int:
    """As many rows as fit into `PAGE` on the average of the row group whose rows are largest; at most `BATCH`."""
    largest = 1.0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        columns = map(group.column, range(group.num_columns))
        size = sum(c.total_uncompressed_size for c in columns if c.path_in_schema.partition(".")[0] in names)
        largest = max(largest, size / max(1, group.num_rows))
    return int(min(BATCH, max(1, PAGE / largest)))


def _damaged(path: Path, error: Exception, place: str = "") -> DataError:
    reason = " ".join(str(error).split())[:300].rstrip(".")
    return DataError(f"the file {path} is not readable Parquet{place}: {reason}.", where=path.name)


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


def _remove(process: int, path: Path, handle: int | None) -> None:
    if os.getpid() == process:  # not in a forked worker, whose parent still reads it
        path.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)
