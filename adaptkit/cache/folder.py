"""All entries of a cache: what there is, what it takes, and what goes when there is no room."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptkit.cache.files import DESCRIPTION, LOCK, SUFFIX, claimed, intact, released
from adaptkit.caching import cache_root


@dataclass(frozen=True, slots=True)
class Found:
    """One entry, seen from outside.

    Attributes:
        folder: of it.
        what: what is kept there, in words; "" where it does not say.
        bytes: on disk.
        used: when it was used last, in seconds since 1970.
    """

    folder: Path
    what: str
    bytes: int
    used: float

    @property
    def shards(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{SUFFIX}"))

    def in_use(self) -> bool:
        """Whether a process reads it."""
        handle = claimed(self.folder / LOCK)
        released(handle)
        return handle is None

    def damaged(self) -> list[Path]:
        """Shards that are not what they were; every byte is read."""
        return [path for path in self.shards if not intact(path, again=True)]

    def remove(self) -> bool:
        """Remove it, unless a process reads it."""
        handle = claimed(self.folder / LOCK)
        if handle is None:
            return False
        shutil.rmtree(self.folder, ignore_errors=True)
        released(handle)
        return True


def cache_folder(named: Path | None = None) -> Path | None:
    """The folder of the activations: the one named, or one in that of all caches; None where nothing is kept."""
    root = cache_root()
    return named or (root and root / "activations")


def entries(cache: Path) -> list[Found]:
    """What a cache holds, the last used first."""
    found = []
    for folder in cache.iterdir() if cache.is_dir() else ():
        if len(folder.name) == 32 and folder.is_dir():
            told = folder / DESCRIPTION
            size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
            used = told.stat().st_mtime if told.exists() else 0.0
            found.append(Found(folder, str(_read(told).get("what", "")), size, used))
    return sorted(found, key=lambda entry: -entry.used)


def make_room(cache: Path, needed: int, most: int, keep: Path) -> bool:
    """Remove the least recently used entries that nobody reads until `needed` more bytes fit into `most`.

    Args:
        cache: its folder.
        needed: bytes that are to come.
        most: bytes that it may have.
        keep: the entry that they are for.

    Returns:
        Whether they fit, on the disk, too. Nothing is removed where they cannot.
    """
    there = entries(cache)
    own = sum(entry.bytes for entry in there if entry.folder == keep)
    if own + needed > most:
        return False
    taken = sum(entry.bytes for entry in there)
    for entry in reversed(there):
        if taken + needed <= most:
            break
        if entry.folder != keep and entry.remove():
            taken -= entry.bytes
    place = next(folder for folder in (cache, *cache.absolute().parents) if folder.exists())
    return taken + needed <= most and needed < shutil.disk_usage(place).free


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
