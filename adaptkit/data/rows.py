"""What every data format gives back, and the registry of formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from adaptkit import kinds
from adaptkit.data.paths import ArrayPath
from adaptkit.kinds import Kinds
from adaptkit.recipe.cells import CellForm


@dataclass(frozen=True, slots=True)
class Column:
    """One column the recipe reads.

    Attributes:
        name: its name in the data.
        form: what its cells may be.
        required: an absent value is an error.
        many: a list of labels; formats without lists split the cell.
        kind: that of the modality, for errors; "" of a target, or of one column of several.
        reads: the kinds of columns of a store that it may be; none: all.
        sources: of several sources of data, those that have it; none: all.
    """

    name: str
    form: CellForm
    required: bool = True
    many: bool = False
    kind: str = ""
    reads: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One example as its format stores it: column -> raw value, None where absent.

    Attributes:
        source: which of several sources of data it is from; "" where there is one.
    """

    id: str
    values: Mapping[str, Any]
    where: str = ""
    source: str = ""


class Rows(Sequence[Row]):
    """The rows of a split, each read when it is asked for.

    Attributes:
        stored: a row is given as it lies there; else a user's code makes it, and may take its time.
    """

    stored: bool = True

    def row(self, index: int) -> Row:
        """The row at 0 <= index < len."""
        raise NotImplementedError

    def column(self, name: str) -> Iterator[Any]:
        """The values of one column, in order; other columns are not read where the format can do without."""
        return (row.values[name] for row in self)

    def files(self, names: Sequence[str]) -> Iterator[Path]:
        """The files that these columns name, in order, as often as they are named."""
        return (file for row in self for name in names for file in files_in(row.values[name]))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.row(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.row(int(index) % len(self))

    def __iter__(self) -> Iterator[Row]:
        return (self.row(index) for index in range(len(self)))


def files_in(value: Any) -> Iterator[Path]:
    """The file that a value is; of a folder, all files in it; of a list, those of its entries."""
    if isinstance(value, list):
        yield from (file for entry in value if isinstance(entry, ArrayPath | Path) for file in files_in(entry))
    elif isinstance(value, ArrayPath):
        yield value.file
    elif isinstance(value, Path):
        yield from sorted(file for file in value.rglob("*") if file.is_file()) if value.is_dir() else (value,)


@dataclass(frozen=True, slots=True)
class SplitRows:
    """All rows, by split, with a hash of their contents and one line about them.

    Attributes:
        splits: name -> rows.
        hash: equal hashes mean equal rows in equal order.
        description: for people.
        classes: column -> its labels, where the format knows them.
        files: read besides, and not in the hash.
    """

    splits: Mapping[str, Sequence[Row]]
    hash: str
    description: str
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: Sequence[Path] = ()


class Format(Protocol):
    """Reads `[data]` of a recipe: `data` is the table of this format, `base` the folder of relative paths."""

    __doc__: str | None

    def __call__(self, data: Any, base: Path, columns: tuple[Column, ...]) -> SplitRows: ...


FORMATS: Kinds[Format] = kinds.FORMATS
