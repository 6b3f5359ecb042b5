"""`csv`: comma- or tab-separated files with a header."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr
from typing import IO, Any

import pyarrow as pa

from adaptkit.data.lazy_arrow import BATCH, spooled
from adaptkit.data.paths import digest_of
from adaptkit.data.rows import FORMATS, Column, SplitRows
from adaptkit.errors import DataError
from adaptkit.formats.arrow_rows import ArrowTable
from adaptkit.formats.jsonl import LONGEST_LINE, SPLITS, not_utf8
from adaptkit.formats.parquet import checked_table
from adaptkit.formats.tables import Csv
from adaptkit.formats.values import Presence, manifest_of, root_of

LINE, ID = "\x00line", "\x00id"  # columns of our own, which no header can name


@FORMATS.register("csv", table=Csv)
def read_csv(data: Csv, base: Path, columns: tuple[Column, ...]) -> SplitRows:
    """One .csv file per split, UTF-8, quoted as in RFC 4180, with a header.

    An empty cell is absent. A features cell is a JSON list or a path; a target cell a number, a JSON value or a
    label, for a multilabel task labels with `list_separator` between them. `id` is optional.

    Raises:
        DataError: naming `file:line` for whatever is wrong there.
    """
    root = root_of(data.root, base)
    splits, digest = {}, hashlib.sha256()
    for split in SPLITS:
        path = manifest_of(data, split, root)
        splits[split] = csv_rows(path, root, columns, delimiter=data.delimiter, list_separator=data.list_separator)
        digest.update(f"{split} {digest_of(path)} {data.delimiter} {data.list_separator}\n".encode())
    counts = ", ".join(f"{split} {len(rows):,}" for split, rows in splits.items())
    return SplitRows(splits, f"sha256:{digest.hexdigest()}", f"csv files in {root} ({counts})")


def csv_rows(
    path: Path, root: Path, columns: tuple[Column, ...], *, delimiter: str = ",", list_separator: str = "|"
) -> ArrowTable:
    """The rows of one file, checked; paths in it are resolved against `root` and may not leave it.

    Raises:
        DataError: as `read_csv`.
    """
    presence = Presence(columns)
    names = [column.name for column in columns]
    schema = pa.schema([(LINE, pa.int64()), (ID, pa.string()), *((name, pa.string()) for name in names)])
    absent = {column.name: "" if column.many else None for column in columns}  # no label is a list without any
    decode = {column.name: _Cell(list_separator) for column in columns}

    def batches() -> Iterator[pa.RecordBatch]:
        kept: list[tuple[Any, ...]] = []
        for line, cells in _records(path, presence, delimiter):
            kept.append((line, cells.get("id") or None, *[cells[name] or absent[name] for name in names]))
            if len(kept) == BATCH:
                yield _batch(kept, schema)
                kept = []
        if kept:
            yield _batch(kept, schema)

    rows = spooled(batches(), schema)
    table = ArrowTable(rows, columns, root, path.name, decode=decode, ids=ID, lines=LINE)
    if not len(table):
        raise DataError("the file has no rows.", where=str(path))
    return checked_table(table)


def _batch(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array(cells, type=field.type) for cells, field in zip(zip(*rows, strict=True), schema, strict=True)],
        schema=schema,
    )


def _records(path: Path, presence: Presence, delimiter: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The line that a record starts on, and its cells by column."""
    line = 1
    try:
        with path.open("rb") as file, _longer_cells():
            reader = csv.reader(_decoded(file, path), delimiter=delimiter, strict=True)
            header = next(reader, None)
            if not header:
                raise DataError("the file has no header.", where=str(path))
            if twice := [name for name, count in Counter(header).items() if count > 1]:
                raise DataError(f"the column {repr(twice[0])} is there twice.", where=f"{path.name}:1")
            presence.check_columns(header, path.name)
            line = reader.line_num + 1
            for cells in reader:
                if cells and len(cells) != len(header):
                    raise DataError(f"{len(cells)} cells, not {len(header)}.", where=f"{path.name}:{line}")
                if cells:
                    yield line, dict(zip(header, cells, strict=True))
                line = reader.line_num + 1
    except FileNotFoundError:
        raise DataError(f"the file {path} does not exist.", where=path.name) from None
    except csv.Error as error:
        raise DataError(f"this is not CSV: {error}.", where=f"{path.name}:{line}") from None
    except OSError as error:
        raise DataError(f"the file {path} cannot be read: {error}.", where=path.name) from None


def _decoded(file: IO[bytes], path: Path) -> Iterator[str]:
    """The lines of a file, with their ends; a mark at its beginning is not part of it.

    Raises:
        DataError: naming the line: it is not UTF-8, or too long.
    """
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
        where = f"{path.name}:{number}"
        if len(line) > LONGEST_LINE:
            raise DataError(f"the line has more than {LONGEST_LINE:,} bytes.", where=where)
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise not_utf8(error, where, line) from None


@contextmanager
def _longer_cells() -> Iterator[None]:
    """Python's limit of 131,072 characters is that of a whole page of text; ours is that of a line."""
    former = csv.field_size_limit(LONGEST_LINE)
    try:
        yield
    finally:
        csv.field_size_limit(former)


class _Cell:
    """From the text of a cell to its value."""

    def __init__(self, separator: str) -> None:
        self.separator = separator

    def __call__(self, cell: str | None, column: Column, where: str) -> Any:
        if column.form.holds == "target" and column.many and cell is not None and not cell.startswith("["):
            return [label.strip() for label in cell.split(self.separator) if label.strip()]
        if not cell:
            return None
        if column.form.holds == "target" or (column.form.holds != "text" and cell.startswith(("[", "{"))):
            return _json_or_text(cell)
        return cell


def _json_or_text(cell: str) -> Any:
    if cell[0] not in "-0123456789[{tf":  # most labels: no need to ask
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    return value
