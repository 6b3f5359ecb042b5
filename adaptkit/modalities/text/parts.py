"""A text of several columns, of which some give way where it is too long and the others are never cut."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adaptkit.errors import DataError

HOLE = "{}"  # in the form of a part: where its text goes
PIECE = re.compile(r"\s*\S{1,24}")  # a word with the space before it, or a part of one in a script without spaces


@dataclass(frozen=True, slots=True)
class Parts:
    """How cells become one text.

    Attributes:
        forms: column -> what is written of it, in order; "{}" stands for the cell.
        cut: the columns that give way, the first of them first.
        keep: what is kept of one that gives way: `first`, `last` or `middle`.
    """

    forms: Mapping[str, str]
    cut: tuple[str, ...]
    keep: str = "first"

    def read(self, cells: Any, name: str, where: str) -> dict[str, str]:
        """The cells that are there, as text.

        Raises:
            DataError: no mapping of columns, or a cell that is no text.
        """
        if not isinstance(cells, Mapping):
            raise DataError(f"{name} is of type {type(cells).__name__}, not the texts of its parts.", where=where)
        if unknown := sorted(map(str, cells.keys() - self.forms.keys())):
            raise DataError(f"{name} has no part {unknown[0]!r}.", where=where)
        for column, cell in cells.items():
            if cell is not None and not isinstance(cell, str):
                raise DataError(f"{name}: {column} is of type {type(cell).__name__}, not text.", where=where)
        return {column: cells[column].strip() for column in self.forms if (cells.get(column) or "").strip()}

    def joined(self, cells: Mapping[str, str]) -> str:
        """The parts that are there, in order, each in its form; one that is absent leaves nothing behind."""
        return " ".join(form.replace(HOLE, cells[name]) for name, form in self.forms.items() if cells.get(name))

    def fitted(
        self,
        cells: Mapping[str, str],
        limit: int,
        length: Callable[[str], int],
        lengths: Callable[[Sequence[str]], list[int]],
    ) -> str | None:
        """The joined text with as much of the parts in `cut` as fits; None where it is too long without them.

        Args:
            cells: as `read` gives them.
            limit: most tokens.
            length: of a whole text, in tokens.
            lengths: of words, without what the tokenizer adds around a text.
        """
        left = dict(cells)
        for name in (name for name in self.cut if name in cells):
            over = length(self.joined(left)) - limit
            if over <= 0:
                break
            pieces = PIECE.findall(left[name])
            sizes = lengths(pieces)
            while over > 0 and pieces:
                first, last = kept_pieces(sizes, over, self.keep)
                pieces, sizes = pieces[first:last], sizes[first:last]
                left[name] = "".join(pieces).strip()
                over = length(self.joined(left)) - limit
        text = self.joined(left)
        return text if length(text) <= limit else None


def kept_pieces(sizes: Sequence[int], over: int, keep: str) -> tuple[int, int]:
    """Where what is kept begins and ends, when pieces of `over` tokens go: from one end, or from both by turns."""
    first, last = 0, len(sizes)
    while over > 0 and first < last:
        if keep == "last" or (keep == "middle" and first < len(sizes) - last):
            over -= max(1, sizes[first])
            first += 1
        else:
            last -= 1
            over -= max(1, sizes[last])
    return first, last
