"""What may be computed again is kept in one folder: $ADAPTKIT_CACHE, or that of the system for caches.

Nothing of a user's own lies there, and whoever deletes it loses time alone. ADAPTKIT_CACHE=off keeps nothing.
Small values are entries of JSON, in a room of their own each; whoever keeps large ones has a folder below the root.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from adaptkit.atomic import write_json
from adaptkit.errors import AdaptkitError

CACHE = "ADAPTKIT_CACHE"  # in the environment: the folder, or a word of OFF
OFF = ("off", "0")
MOST = 200  # entries of a room


def cache_root() -> Path | None:
    """The folder of all caches, which need not exist yet; None where nothing is to be kept."""
    named = os.environ.get(CACHE, "")
    if named.lower() in OFF:
        return None
    try:
        return Path(named).expanduser().absolute() if named else _of_the_system() / "adaptkit"
    except (OSError, RuntimeError):  # no home, no folder to be relative to
        return None


def _of_the_system() -> Path:
    """Where programs of this system keep caches: the XDG base directories, and what stands for them elsewhere."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", "")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    named = os.environ.get("XDG_CACHE_HOME", "")
    return Path(named) if Path(named).is_absolute() else Path.home() / ".cache"  # a relative one is to be ignored


def recall(room: str, key: str) -> Any:
    """What was remembered under this key; None where there is nothing, or what is there is damaged.

    Args:
        room: folder below the root.
        key: all that the value depends on, as text. It is compared, not only its hash.
    """
    path = _entry(room, key)
    if path is None:
        return None
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        if entry["key"] != key or entry["sha256"] != _digest(entry["value"]):
            return None
        with contextlib.suppress(OSError):  # somebody else's, to be read only
            os.utime(path)  # what is used stays
        return json.loads(entry["value"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def remember(room: str, key: str, value: Any) -> None:
    """Keep a value that JSON can say. Where the folder cannot be written, nothing is kept and nothing is said.

    The entries of a room that were used last stay, `MOST` of them.
    """
    path = _entry(room, key)
    if path is None:
        return
    text = json.dumps(value, ensure_ascii=False)
    with contextlib.suppress(OSError, AdaptkitError):
        write_json(path, {"key": key, "sha256": _digest(text), "value": text})
        used = sorted(path.parent.glob("*.json"), key=lambda entry: entry.stat().st_mtime_ns)
        for old in used[:-MOST]:
            old.unlink(missing_ok=True)


def _entry(room: str, key: str) -> Path | None:
    root = cache_root()
    return None if root is None else root / room / f"{_digest(key)}.json"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
