"""Where the keys of a recipe are written, and what is wrong there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adaptkit.errors import Problem

Path = tuple[str | int, ...]


class Places(dict[tuple[str, ...], str]):
    """Dotted key -> "file:line" or "--set key=value"."""

    def __init__(self, known: Mapping[tuple[str, ...], str] | None = None) -> None:
        super().__init__(known or {})

    def of(self, path: Path) -> str:
        """The place of the key, or of the longest part of it that is written down; "" if none is."""
        keys = tuple(map(str, path))
        for length in range(len(keys), -1, -1):
            if keys[:length] in self:
                return self[keys[:length]]
        return ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake at one key of the recipe."""

    path: Path
    message: str
    hint: str = ""

    def problem(self, places: Places) -> Problem:
        """As a user reads it: place, dotted key, what is wrong, what instead."""
        key = ".".join(map(str, self.path))
        return Problem(f"{key}: {self.message}" if key else self.message, places.of(self.path), self.hint)
