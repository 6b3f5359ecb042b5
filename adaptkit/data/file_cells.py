"""A cell that holds a file in the form of Hugging Face: {"bytes": ..., "path": ...}, or the array that was in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adaptkit.errors import DataError


def unwrapped(value: Mapping[str, Any], name: str, where: str) -> Any:
    """The bytes of the file, its path, or {"array": ...} with its sampling rate.

    The type of each decides, so that text in place of bytes is never taken for a path.

    Args:
        value: the cell.
        name: of the column or modality, for errors.
        where: of the row, for errors.

    Raises:
        DataError: none of them, or one of another type.
    """
    for key, right in _RIGHT.items():
        found = value.get(key)
        if found is None:
            continue
        if not right(found):
            raise DataError(f"{name}.{key} is of type {type(found).__name__}.", where=where, hint=_HINT)
        return {k: value[k] for k in ("array", "sampling_rate") if k in value} if key == "array" else found
    names = ", ".join(map(str, list(value)[:4]))
    raise DataError(
        f"{name} has {f'the keys {names}' if names else 'no key'}, not a path or an array.", where=where, hint=_HINT
    )


_RIGHT: Mapping[str, Callable[[Any], bool]] = {
    "bytes": lambda found: isinstance(found, bytes),
    "array": lambda found: not isinstance(found, str | bytes | Path | Mapping),
    "path": lambda found: isinstance(found, str | Path),
}
_HINT = 'Write {"bytes": the bytes of a file}, {"path": "..."} or {"array": ...}.'
