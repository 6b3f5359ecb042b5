"""Writing so that a crash leaves either the old content or the new one, never half of it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adaptkit.errors import RunError


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the file by this content at once: temporary file in the same folder, fsync, rename.

    Raises:
        RunError: the folder cannot be written; the file that was there is untouched.
    """
    with new_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """`write_bytes` of indented JSON that ends with a newline."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def new_file(path: Path, *, keep: Path | None = None) -> Iterator[Path]:
    """A file to fill that takes its place (replacing another) only when the block ends without an error.

    Args:
        path: the place.
        keep: what was there before becomes this file. A crash in between leaves `keep` alone, never neither of them.

    Raises:
        RunError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
    except OSError as error:
        raise unwritable(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A folder to fill that takes its place only when the block ends without an error.

    Yields a sibling folder `.<name>.<random>.tmp`. An existing folder is replaced only with `replace`, and
    only after the new one is complete.

    Raises:
        RunError: the folder exists (without `replace`) or cannot be written.
    """
    if path.exists() and not replace:
        raise RunError("exists already.", where=str(path), hint="Choose another place, or allow overwriting.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        _take_place(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unwritable(path: Path, error: OSError) -> RunError:
    """The error a user sees when the operating system refuses a write."""
    return RunError(
        f"cannot be written: {error.strerror or error}.",
        where=str(path),
        hint="Check the permissions and the free space, or write somewhere else.",
    )


def sync_folder(folder: Path) -> None:
    """Make a rename inside the folder survive a power cut, where the system can (not on Windows)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _take_place(temporary: Path, path: Path) -> None:
    if not path.exists():
        os.replace(temporary, path)
        return
    # A folder with files in it cannot be renamed over: the old one steps aside, and comes back on failure.
    aside = temporary.with_suffix(".old")
    os.replace(path, aside)
    try:
        os.replace(temporary, path)
    except OSError:
        os.replace(aside, path)
        raise
    shutil.rmtree(aside) if aside.is_dir() else aside.unlink()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
