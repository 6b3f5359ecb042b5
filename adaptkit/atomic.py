"""Writing so that a crash leaves either the old content or the new one, never half of it.

What is being filled is a hidden sibling, `.NAME.RANDOM.tmp`, on which its process holds a lock of the operating system.
After a kill the lock is free, and whoever writes there next removes what was left.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adaptkit.errors import RunError

try:
    import fcntl
except ImportError:  # on Windows nothing is swept
    fcntl = None


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
    """`write_bytes` of `json_text`."""
    write_text(path, json_text(content))


def json_text(content: Mapping[str, Any]) -> str:
    """Indented JSON that ends with a newline."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


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
        sweep(path.parent, path.name)
        temporary, handle = _claimed(lambda: tempfile.mkstemp(*_named(path))[1])
    except OSError as error:
        raise unwritable(path, error) from error
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
        _release(handle)


@contextmanager
def new_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A folder to fill that takes its place only when the block ends without an error.

    Yields a sibling folder `.<name>.<random>.tmp`. An existing folder is replaced only with `replace`, and
    only after the new one is complete.

    Raises:
        RunError: the folder exists (without `replace`) or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, path.name)  # first, because a folder may come back
        if path.exists() and not replace:
            raise RunError("exists already.", where=str(path), hint="Choose another place, or allow overwriting.")
        temporary, handle = _claimed(lambda: tempfile.mkdtemp(*_named(path)))
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
        _release(handle)


def scratch_file(prefix: str, suffix: str) -> tuple[Path, int | None]:
    """An empty file in the system's folder for temporary files (TMPDIR), and the handle that says it is in use.

    Whoever closes the handle (None on Windows) removes the file first. Files of this name whose processes were killed
    go now. Raises OSError where there is no such folder.
    """
    for left in sorted(Path(tempfile.gettempdir()).glob(f"{glob.escape(prefix)}*{glob.escape(suffix)}")):
        _remove_left(left)
    return _claimed(lambda: _empty(prefix, suffix))


def sweep(folder: Path, name: str = "*") -> None:
    """Remove what killed writers of this name in the folder have left; what is being written now is left alone.

    A folder that a killed writer had put aside, without having put another in its place, comes back.
    """
    if fcntl is None:
        return
    pattern = name if name == "*" else glob.escape(name)
    for left in sorted(folder.glob(f".{pattern}.*.tmp")):
        _remove_left(left)
    for aside in sorted(folder.glob(f".{pattern}.*.old")):
        place = folder / aside.name[1:].rsplit(".", 2)[0]
        if aside.with_suffix(".tmp").exists():  # of a living writer
            continue
        if place.exists():
            _remove(aside)
        else:
            os.replace(aside, place)


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


def _named(path: Path) -> tuple[str, str, Path]:
    """How a temporary file of this one ends and begins, and its folder, in the order of `tempfile`."""
    return ".tmp", f".{path.name}.", path.parent


def _empty(prefix: str, suffix: str) -> str:
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix)
    os.close(handle)
    return name


def _remove_left(path: Path) -> None:
    """Remove what no living process has locked."""
    handle = _lock(path)
    if handle is not None:
        _remove(path)
        os.close(handle)


def _claimed(make: Callable[[], str]) -> tuple[Path, int | None]:
    """A new temporary file or folder, and the lock on it (None where the system has none)."""
    while True:
        path = Path(make())
        handle = _lock(path)
        if handle is None or path.exists():  # else it was swept between the two lines above
            return path, handle
        os.close(handle)


def _lock(path: Path) -> int | None:
    """Lock a file or folder for this process, as long as the handle is open; None if another one has it."""
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held; or a file system without locks
        os.close(handle)
        return None
    return handle


def _release(handle: int | None) -> None:
    if handle is not None:
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
    _remove(aside)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
