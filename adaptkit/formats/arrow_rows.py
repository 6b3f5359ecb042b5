"""Rows kept in memory-mapped Arrow files, with what each cell needs to become a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from adaptkit.data.lazy_arrow import ArrowRows
from adaptkit.data.rows import Column, Row, Rows, files_in
from adaptkit.formats.values import checked

Decode = Callable[[Any, Column, str], Any]


class ArrowTable(Rows):
    """Rows of Arrow batches.

    Args:
        rows: with the columns, and maybe `id` and `where` (the line of the source).
        columns: what is read.
        root: that paths are relative to.
        source: names the file in errors.
        decode: (cell, column, where) -> value before it is checked; a module's function, for worker processes.
        ids: name of the column of ids, "" where there is none.
        lines: name of the column of line numbers, "" where rows are counted.
    """

    def __init__(
        self,
        rows: ArrowRows,
        columns: tuple[Column, ...],
        root: Path,
        source: str,
        *,
        decode: Mapping[str, Decode] | None = None,
        ids: str = "id",
        lines: str = "",
    ) -> None:
        self.rows, self.columns, self.root, self.source = rows, columns, root, source
        self.decode, self.ids, self.lines = dict(decode or {}), ids, lines

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int) -> Row:
        return self.read(self.rows[index], index)

    def __iter__(self) -> Iterator[Row]:
        return (self.read(cells, index) for index, cells in enumerate(self.rows))

    def column(self, name: str) -> Iterator[Any]:
        """The values of one column; nothing else is decoded, and paths are not looked at."""
        column = next(c for c in self.columns if c.name == name)
        decode = self.decode.get(name)
        cells = self.rows.column(name)
        return cells if decode is None else (decode(cell, column, self.source) for cell in cells)

    def files(self, names: Sequence[str]) -> Iterator[Path]:
        """Only these columns are decoded, and none that holds the bytes of files."""
        for column in (c for c in self.columns if c.name in names):
            kind = self.rows.schema.field(column.name).type if self.rows.schema else pa.null()
            if not pa.types.is_binary(kind) and not pa.types.is_large_binary(kind):
                for cell in self.column(column.name):
                    yield from files_in(checked(cell, column, self.root, self.source))

    def place(self, index: int) -> str:
        """`file:line` of a row."""
        return f"{self.source}:{self.rows[index][self.lines] if self.lines else index + 1}"

    def value(self, cell: Any, column: Column, where: str) -> Any:
        """What a cell stands for.

        Raises:
            DataError: as `read`.
        """
        decode = self.decode.get(column.name)
        return checked(cell if decode is None else decode(cell, column, where), column, self.root, where)

    def read(self, cells: Mapping[str, Any], index: int) -> Row:
        """The row of these cells.

        Raises:
            DataError: a value of the wrong type, a path that leaves the root or does not exist.
        """
        where = f"{self.source}:{cells[self.lines] if self.lines else index + 1}"
        values = {column.name: self.value(cells[column.name], column, where) for column in self.columns}
        found = cells.get(self.ids)
        return Row(where if found is None else str(found), values, where)
