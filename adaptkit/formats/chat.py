"""`chat`: conversations as everybody has them, one JSON object per line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptkit.data.rows import FORMATS, Column, SplitRows
from adaptkit.errors import DataError
from adaptkit.formats.jsonl import manifests
from adaptkit.formats.tables import Chat
from adaptkit.formats.values import root_of


@FORMATS.register("chat", table=Chat)
def read_chat(data: Chat, base: Path, columns: tuple[Column, ...]) -> SplitRows:
    """One .jsonl file per split, a conversation per line, in the column `messages` whatever it is called there.

    What is said behind the last answer is left out. Other keys of a line are columns as in `jsonl`; an image that the
    words point at (a part of type image, or <image>) is the column `image`.

    Raises:
        DataError: naming `file:line` for whatever is wrong there.
    """
    splits, digest = manifests(data, base, columns, Lays(data, tuple(column.name for column in columns)))
    counts = ", ".join(
        f"{split} {len(rows):,}" + (f" and {rows.left_out:,} left out" if rows.left_out else "")
        for split, rows in splits.items()
    )
    return SplitRows(splits, digest, f"conversations in {root_of(data.root, base)} ({counts})")


@dataclass(frozen=True, slots=True)
class Lays:
    """A line by its columns; None for a faulty one that is to be left out."""

    data: Chat
    columns: tuple[str, ...]

    def __call__(self, record: Mapping[str, Any], where: str) -> Mapping[str, Any] | None:
        try:
            return self.data.record(record, where, self.columns, answered=True)
        except DataError:
            if self.data.faulty == "skip":
                return None
            raise
