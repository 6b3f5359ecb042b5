"""By which a sample is known again: its raw values, of a file what it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.data.paths import ArrayPath

SIZE = 16  # bytes of an identity
LONGEST = 4096  # letters of a path


class UnknowableError(Exception):
    """A value of a type that nothing is known of."""


def identity(values: Sequence[Any]) -> bytes:
    """Of the raw values that a model reads of a sample: equal ones have equal identities.

    Args:
        values: texts, numbers, arrays, images of Pillow, paths (of which the content counts), None, and lists and
            dicts of such.

    Raises:
        UnknowableError: something else.
    """
    digest = hashlib.blake2b(digest_size=SIZE)
    for value in values:
        _add(digest, value)
    return digest.digest()


def _add(digest: Any, value: Any) -> None:
    kind, content = _content(value)
    digest.update(f"{kind}:{len(content)}:".encode())
    digest.update(content)


def _content(value: Any) -> tuple[str, Any]:
    if isinstance(value, str):
        file = value.partition("::")[0]  # of FILE::KEY
        named = len(value) < LONGEST and "\n" not in value and _is_file(file)
        return "str", value.encode(errors="surrogatepass") + (_of_path(Path(file)) if named else b"")
    if value is None or isinstance(value, bool | int | float | np.generic):
        return type(value).__name__, repr(value).encode()
    if isinstance(value, bytes):
        return "bytes", value
    if isinstance(value, ArrayPath):
        return "array in a file", _of_path(value.file) + value.key.encode()
    if isinstance(value, Path):
        return "path", _of_path(value)
    if isinstance(value, Mapping):
        return "dict", identity([part for key in sorted(value, key=str) for part in (str(key), value[key])])
    if isinstance(value, list | tuple):
        return "list", identity(value)
    return _of_array(value)


def _of_array(value: Any) -> tuple[str, Any]:
    if hasattr(value, "tobytes") and hasattr(value, "mode"):  # an image of Pillow
        return f"{value.mode} {value.size}", value.tobytes()
    if not hasattr(value, "__array__"):
        raise UnknowableError(type(value).__name__)
    array = np.ascontiguousarray(value)
    if array.dtype.hasobject:
        raise UnknowableError(str(array.dtype))
    return f"{array.dtype} {array.shape}", array.tobytes()


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _of_path(path: Path) -> bytes:
    """A file by its content; a folder by the files in it. What cannot be read is known by that."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return identity([part for file in files for part in (file.relative_to(path).as_posix(), file)])
    try:
        found = path.stat()
        return _of_file(path, found.st_size, found.st_mtime_ns, found.st_ino)
    except OSError as error:
        raise UnknowableError(str(error)) from None


@lru_cache(maxsize=2**20)
def _of_file(path: Path, size: int, time: int, node: int) -> bytes:
    """Hashed once, as long as size, time and place stay the same."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=SIZE)).digest()
