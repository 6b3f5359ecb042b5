"""Several sources of data in one recipe, each with tasks of its own: `[data.sources.NAME]`."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from adaptkit.data.rows import FORMATS, Column, Row, Rows, SplitRows
from adaptkit.errors import DataError
from adaptkit.formats.tables import Mixture


@FORMATS.register("mixture", table=Mixture)
def read_mixture(data: Mixture, base: Path, columns: tuple[Column, ...]) -> SplitRows:
    """Every source read by its own format, of its columns those that its tasks and the modalities ask for.

    Raises:
        DataError: a source that cannot be read, or that has no training split.
    """
    found: dict[str, SplitRows] = {}
    for name, part in data.sources.items():
        wanted = tuple(column for column in columns if not column.sources or name in column.sources)
        found[name] = FORMATS.named(part.format)(part, base, wanted)
    splits = list(dict.fromkeys(split for table in found.values() for split in table.splits))
    for split in ("train", "validation"):
        lacking = [name for name, table in found.items() if not table.splits.get(split)]
        if lacking and split in splits:
            raise DataError(f"the source {lacking[0]} has no {split} split.", where=f"data.sources.{lacking[0]}")
    names = tuple(column.name for column in columns)
    told = ", ".join(f"{name}: {table.description}" for name, table in found.items())
    return SplitRows(
        {split: MixedRows(_parts(found, split), names) for split in splits},
        hashlib.sha256("".join(f"{name}:{table.hash}\n" for name, table in found.items()).encode()).hexdigest(),
        f"{len(found)} sources ({told})",
        _classes(found),
        [file for table in found.values() for file in table.files],
    )


class MixedRows(Rows):
    """The rows of several sources, one source after another.

    Args:
        parts: source -> its rows; none without rows.
        names: every column; a source has None in those that are not its own.
    """

    def __init__(self, parts: Mapping[str, Sequence[Row]], names: Sequence[str]) -> None:
        self.parts, self._names = dict(parts), tuple(names)
        self._stops = [*accumulate(map(len, self.parts.values()))]
        self._sources = [*self.parts]

    def __len__(self) -> int:
        return self._stops[-1] if self._stops else 0

    def row(self, index: int) -> Row:
        part = bisect_right(self._stops, index)
        name = self._sources[part]
        found = self.parts[name][index - (self._stops[part - 1] if part else 0)]
        return replace(found, values={**dict.fromkeys(self._names), **found.values}, source=name)

    def column(self, name: str) -> Iterator[Any]:
        return (row.values[name] for row in self)

    def files(self, names: Sequence[str]) -> Iterator[Path]:
        """Of every source what its own columns name."""
        for rows in self.parts.values():
            own = [name for name in names if len(rows) and name in rows[0].values]
            if isinstance(rows, Rows):
                yield from rows.files(own)


def _parts(found: Mapping[str, SplitRows], split: str) -> dict[str, Sequence[Row]]:
    parts = {name: table.splits.get(split, ()) for name, table in found.items()}
    return {name: rows for name, rows in parts.items() if rows}


def _classes(found: Mapping[str, SplitRows]) -> dict[str, Sequence[str]]:
    """Column -> labels, where the sources that know them agree; else the training split tells."""
    known: dict[str, set[tuple[str, ...]]] = {}
    for table in found.values():
        for column, labels in table.classes.items():
            known.setdefault(column, set()).add(tuple(labels))
    return {column: next(iter(labels)) for column, labels in known.items() if len(labels) == 1}
