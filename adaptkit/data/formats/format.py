"""What every data format gives back, and the registry of formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from adaptkit.registry import Registry


@dataclass(frozen=True, slots=True)
class Column:
    """One column the recipe reads.

    Attributes:
        name: its name in the data.
        kind: `text`, `image`, `features` (modalities) or `target`.
        required: an absent value is an error.
    """

    name: str
    kind: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One example as its format stores it: column -> raw value, None where absent."""

    id: str
    values: Mapping[str, Any]
    where: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """All rows, by split, with a hash of their contents and one line about them."""

    splits: Mapping[str, list[Row]]
    hash: str
    description: str


class Format(Protocol):
    """Reads `[data]` of a recipe: `data` is the table of this format, `base` the folder of relative paths."""

    __doc__: str | None

    def __call__(self, data: Any, base: Path, columns: tuple[Column, ...]) -> Table: ...


FORMATS: Registry[Format] = Registry("data format")
