"""`parquet`: Parquet files, unpacked once into memory-mapped Arrow so that shuffled rows cost microseconds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from adaptkit.data.lazy_arrow import ArrowRows, unpacked_parquet
from adaptkit.data.paths import digest_of
from adaptkit.data.rows import FORMATS, Column, SplitRows
from adaptkit.errors import DataError
from adaptkit.formats.arrow_rows import ArrowTable
from adaptkit.formats.jsonl import SPLITS
from adaptkit.formats.tables import Parquet
from adaptkit.formats.values import Presence, absent, manifest_of, root_of


@FORMATS.register("parquet", table=Parquet)
def read_parquet(data: Parquet, base: Path, columns: tuple[Column, ...]) -> SplitRows:
    """One .parquet file per split; columns are text, numbers, labels, lists of numbers, images or paths.

    An image or a sound is a path, the bytes of a file, or Hugging Face's form of both. null: absent. `id` is
    optional. The columns that are read are unpacked into the folder for temporary files.

    Raises:
        DataError: a missing, damaged or empty file, a column that is not there, a value that is absent or wrong.
    """
    root = root_of(data.root, base)
    splits, digest = {}, hashlib.sha256()
    for split in SPLITS:
        path = manifest_of(data, split, root)
        splits[split] = parquet_rows(path, root, columns)
        digest.update(f"{split} {digest_of(path)}\n".encode())
    counts = ", ".join(f"{split} {len(rows):,}" for split, rows in splits.items())
    return SplitRows(splits, f"sha256:{digest.hexdigest()}", f"parquet files in {root} ({counts})")


def parquet_rows(path: Path, root: Path, columns: tuple[Column, ...]) -> ArrowTable:
    """The rows of one file, checked; paths in it are resolved against `root` and may not leave it.

    Raises:
        DataError: as `read_parquet`.
    """
    return checked_table(ArrowTable(unpacked(path, columns), columns, root, path.name))


def unpacked(path: Path, columns: tuple[Column, ...]) -> ArrowRows:
    """The columns of a Parquet file, and its `id` where it has one.

    Raises:
        DataError: a missing or damaged file, a column that is not there.
    """

    def wanted(schema: pa.Schema) -> list[str]:
        Presence(columns).check_columns(schema.names, path.name)
        names = [c.name for c in columns] + ["id"] * ("id" in schema.names)
        for name in dict.fromkeys(names):
            if schema.names.count(name) > 1:
                raise DataError(f"the column {name!r} is there twice.", where=path.name)
        return list(dict.fromkeys(names))

    return unpacked_parquet(path, wanted)


def checked_table(table: ArrowTable) -> ArrowTable:
    """The table itself, once every type, path and required value has been looked at, one column at a time.

    Raises:
        DataError: naming `file:row`.
    """
    for column in table.columns:
        if column.required and (index := table.rows.first_null(column.name)) is not None:
            raise absent(column, table.place(index))
        if column.form.holds in ("file", "text"):
            for index, cell in enumerate(_looked_at(table, column)):
                if cell is not None:
                    _check(table, column, cell, index)
    return table


def _looked_at(table: ArrowTable, column: Column) -> Iterator[Any]:
    """The cells that may be wrong: those of text where the type does not say it, and what may be a path."""
    schema = table.rows.schema
    kind = schema.field(column.name).type if schema else pa.null()
    cells = table.rows.column(column.name)
    if column.form.holds == "text" and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return iter(())
    if column.form.holds != "text" and (pa.types.is_binary(kind) or pa.types.is_nested(kind)):
        return islice(cells, 1)  # bytes and lists are what they are; of structs the first shows the form
    return cells


def _check(table: ArrowTable, column: Column, cell: Any, index: int) -> None:
    try:
        table.value(cell, column, "")
    except DataError:
        table.value(cell, column, table.place(index))  # looked up only now: it costs a row
