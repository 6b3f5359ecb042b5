"""The files of an entry, and who holds them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows nobody is waited for: each writes shards of its own
    fcntl = None

DESCRIPTION, LOCK, FILLING, SUFFIX = "entry.json", "lock", "filling", ".safetensors"
_verified: dict[Path, tuple[int, int]] = {}  # shards whose hash was computed by this process: size and time then


def intact(path: Path, *, again: bool = False) -> bool:
    """Whether a shard is what its name says; computed once in a process, while size and time stay, or `again`."""
    found = path.stat()
    if again or _verified.get(path) != (found.st_size, found.st_mtime_ns):
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != path.name.removesuffix(SUFFIX):
                return False
        _verified[path] = (found.st_size, found.st_mtime_ns)
    return True


def claimed(path: Path, *, shared: bool = False, wait: bool = False) -> int | None:
    """Lock a file for this process; None where another one has it, or where the system knows no locks."""
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # a cache that this user may only read
        return None
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(handle)
        return None
    return handle


def released(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)
