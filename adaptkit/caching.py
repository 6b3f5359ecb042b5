"""What may be computed again is kept in one folder: $ADAPTKIT_CACHE, or that of the system for caches.

Nothing of a user's own lies there, and whoever deletes it loses time alone. ADAPTKIT_CACHE=off keeps nothing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

CACHE = "ADAPTKIT_CACHE"  # in the environment: the folder, or a word of OFF
OFF = ("off", "0")


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
