"""What the cells of a manifest may be: text, paths below the root, arrays, labels; and when one may be absent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from reprlib import repr
from typing import Any

from adaptkit.data.file_cells import unwrapped
from adaptkit.data.paths import ArrayPath, array_inside, inside, named_file
from adaptkit.data.rows import Column
from adaptkit.errors import DataError, nearest


def root_of(root: str | None, base: Path, *, key: str = "data.root") -> Path:
    """The folder of the data, resolved.

    Args:
        root: as the recipe has it.
        base: folder that it is relative to.
        key: of the recipe, for errors.

    Raises:
        DataError: it does not exist.
    """
    folder = (base / Path(root).expanduser()).resolve() if root else base.resolve()
    if not folder.is_dir():
        raise DataError(f"the folder {folder} does not exist.", where=key)
    return folder


def manifest_of(data: Any, split: str, root: Path) -> Path:
    """The file, or folder, of a split, as a key of `[data]` names it.

    Raises:
        DataError: a link leads out of the root; see `named_file`.
    """
    return named_file(root, getattr(data, split), f"data.{split}")


def checked(value: Any, column: Column, root: Path, where: str) -> Any:
    """The value as samples have it; a path is resolved.

    Raises:
        DataError: a value of the wrong type, a path that leaves the root or does not exist.
    """
    if value is None:
        return None
    if column.form.holds == "text" and not isinstance(value, str):
        raise _wrong_type(value, column, where, "a string")
    if column.form.holds != "file":
        return value
    if isinstance(value, str):
        return _path(value, column, root, where)
    if isinstance(value, dict):
        return value if column.form.mappings else _of_mapping(value, column, root, where)
    if not isinstance(value, list | bytes):
        raise _wrong_type(value, column, where, "a path or an array")
    if column.form.keys and isinstance(value, list) and value and all(isinstance(entry, str) for entry in value):
        return [_path(entry, column, root, where) for entry in value]
    return value


class Presence:
    """Whether a split has what it needs: every column somewhere, required ones everywhere."""

    def __init__(self, columns: Iterable[Column]) -> None:
        self.columns = tuple(columns)
        self.absent: tuple[Column, str] | None = None

    def see(self, values: Mapping[str, Any], where: str) -> None:
        """Take note of the first absent value that is required."""
        if self.absent is None:
            for column in self.columns:
                if column.required and values[column.name] is None:
                    self.absent = (column, where)
                    return

    def check_columns(self, named: Iterable[str], where: str) -> None:
        """Raise DataError where no row has a column; the hint offers the nearest name."""
        known = set(named)
        for column in self.columns:
            if column.name not in known:
                raise DataError(
                    f"no row has the column {column.name!r}.", where=where, hint=nearest(column.name, known)
                )

    def check_required(self) -> None:
        """Raise DataError where a required value is absent."""
        if self.absent is not None:
            raise absent(*self.absent)


def absent(column: Column, where: str) -> DataError:
    """The error of a value that is needed and not there."""
    hint = "" if column.form.holds == "target" else 'Or say what to do: missing = "zero", "mean" or "learned".'
    return DataError(f"{column.name} is absent.", where=where, hint=hint)


def _path(value: str, column: Column, root: Path, where: str) -> Path | ArrayPath:
    named = array_inside if column.form.keys else inside
    return named(root, value, column.name, where, folders=column.form.folders)


def _of_mapping(value: dict[str, Any], column: Column, root: Path, where: str) -> Any:
    """A file in the form of Hugging Face: its bytes, a path below the root, or an array. No text is left in it that
    a reader could take for a path."""
    found = unwrapped(value, column.name, where)
    return _path(found, column, root, where) if isinstance(found, str) else found


def _wrong_type(value: Any, column: Column, where: str, wanted: str) -> DataError:
    shown = f"of type {type(value).__name__}" if isinstance(value, dict | list) else repr(value)
    return DataError(f"{column.name} is {shown}, not {wanted}.", where=where)
