"""Paths that data names: below the root, files that are there, and the hashes of what they hold."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from adaptkit.errors import DataError

_CHUNK = 1 << 20


def inside(root: Path, relative: str, name: str, where: str, *, folders: bool = False) -> Path:
    """The file that `relative` names below `root` (a resolved folder), with links followed.

    Args:
        root: resolved folder.
        relative: as the data has it.
        name: of the column, for errors.
        where: of the row, for errors.
        folders: a folder is fine, too; then nothing in it may be a link that leaves the root.

    Raises:
        DataError: it leaves the root, or does not exist.
    """
    if "\0" in relative:
        raise DataError(f"{name} = {relative!r} is no path.", where=where)
    written = root / relative
    try:
        # One look at the file where its folder is known: a million of them take seconds, not minutes.
        path = _resolved(written.parent) / written.name if written.name not in ("", "..") else _target(written)
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            path = _target(path)
            mode = path.stat().st_mode
    except (OSError, RuntimeError):
        path, mode = _target(written), 0
    if not path.is_relative_to(root):
        raise DataError(f"{name} = {relative!r} leaves the data folder {root}.", where=where)
    if not (stat.S_ISREG(mode) or (folders and stat.S_ISDIR(mode))):
        raise DataError(f"{name} = {relative!r} does not exist in {root}.", where=where)
    if stat.S_ISDIR(mode) and (astray := next(_astray(root, path, deep=False), None)) is not None:
        raise DataError(f"{name} = {relative!r}: {astray.name} in it {_why(astray, root)}.", where=where)
    return path


def array_inside(root: Path, relative: str, name: str, where: str, *, folders: bool = False) -> Path | ArrayPath:
    """The file of `inside`, or the array in it that `FILE::KEY` names.

    Raises:
        DataError: the file leaves the root, or does not exist.
    """
    file, mark, key = relative.partition("::")
    path = inside(root, file, name, where, folders=folders)
    return ArrayPath(path, key) if mark else path


def named_file(root: Path, name: str, key: str) -> Path:
    """The file or folder that a key of the recipe names, absolute or from `root` on (a resolved folder).

    The recipe may name a file anywhere. A link, however, is the data's word: one below the root stays there.

    Raises:
        DataError: below the root there is a link out of it, or something that is neither a file nor a folder.
    """
    path = Path(os.path.normpath(root / name))
    target = _target(path)
    if path.is_relative_to(root) and not target.is_relative_to(root):
        hint = f"Say so in the recipe: {key} = {str(target)!r}, or copy it there.".replace("'", '"')
        raise DataError(f"{name} is a link that leaves the data folder {root}.", where=key, hint=hint)
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise DataError(f"{path} is neither a file nor a folder.", where=key)
    return path


def refuse_astray(root: Path) -> None:
    """Of a folder from elsewhere: every link in it stays in it, and everything else is a file or a folder.

    Raises:
        DataError: something is not so; the first is named.
    """
    found = next(_astray(root.resolve(), root.resolve(), deep=True), None)
    if found is not None:
        hint = "Copy what it points to, or leave it out." if found.is_symlink() else "Leave it out."
        raise DataError(f"{found} {_why(found, root)}.", where=str(root), hint=hint)


@dataclass(frozen=True, slots=True)
class ArrayPath:
    """One array of a file.

    Attributes:
        file: it.
        key: the name of the array, and maybe its row: `key` or `key[12]`.
    """

    file: Path
    key: str

    def __str__(self) -> str:
        return f"{self.file}::{self.key}"


def are_files(value: Any) -> bool:
    """A list of files or of arrays in files, which belong together."""
    return isinstance(value, list) and bool(value) and all(isinstance(part, Path | ArrayPath) for part in value)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of the list of a folder's files with their sizes.

    Raises:
        DataError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.is_file():
                    digest.update(f"{file.relative_to(path).as_posix()}\t{file.stat().st_size}\n".encode())
        else:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}.", where=str(path)) from None
    return digest.hexdigest()


def _astray(root: Path, folder: Path, *, deep: bool) -> Iterator[Path]:
    """What in a folder below `root` is a link that leaves the root, or no file, folder or link."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if entry.is_symlink():
                if not _target(path).is_relative_to(root):
                    yield path
            elif entry.is_dir():
                if deep:
                    yield from _astray(root, path, deep=True)
            elif not entry.is_file():
                yield path


def _why(astray: Path, root: Path) -> str:
    return f"is a link that leaves the data folder {root}" if astray.is_symlink() else "is neither a file nor a folder"


@lru_cache(maxsize=4096)
def _resolved(folder: Path) -> Path:
    return _target(folder)


def _target(path: Path) -> Path:
    """With links followed, as far as they lead: unlike `Path.resolve`, a link to itself is itself."""
    return Path(os.path.realpath(path))
