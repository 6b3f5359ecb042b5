"""Paths that data names: below the root, files that are there, and the hashes of what they hold."""

from __future__ import annotations

import hashlib
import stat
from functools import lru_cache
from pathlib import Path

from adaptkit.errors import DataError

_CHUNK = 1 << 20


def inside(root: Path, relative: str, name: str, where: str, *, folders: bool = False) -> Path:
    """The file that `relative` names below `root` (a resolved folder), with links followed.

    Args:
        root: resolved folder.
        relative: as the data has it.
        name: of the column, for errors.
        where: of the row, for errors.
        folders: a folder is fine, too.

    Raises:
        DataError: it leaves the root, or does not exist.
    """
    if "\0" in relative:
        raise DataError(f"{name} = {relative!r} is no path.", where=where)
    written = root / relative
    try:
        # One look at the file where its folder is known: a million of them take seconds, not minutes.
        path = _resolved(written.parent) / written.name if written.name not in ("", "..") else written.resolve()
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            path = path.resolve()
            mode = path.stat().st_mode
    except (OSError, RuntimeError):
        path, mode = written.resolve(), 0
    if not path.is_relative_to(root):
        raise DataError(f"{name} = {relative!r} leaves the data folder {root}.", where=where)
    if not (stat.S_ISREG(mode) or (folders and stat.S_ISDIR(mode))):
        raise DataError(f"{name} = {relative!r} does not exist in {root}.", where=where)
    return path


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


@lru_cache(maxsize=4096)
def _resolved(folder: Path) -> Path:
    return folder.resolve()
