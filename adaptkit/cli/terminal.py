"""What only somebody at a terminal sees: that a command is under way, and what the shell completes."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

COMPLETING = "_ADAPTKIT_COMPLETE"  # set by the script of --show-completion
QUIET = 0.25  # seconds; with the start of Python before them, less than half a second


@contextlib.contextmanager
def sign_of_life(text: str) -> Iterator[None]:
    """A line on stderr when the command takes longer than an instant: libraries are large, models larger.

    Only at a terminal: a log or a pipe has no use for it.
    """
    if not sys.stderr.isatty():
        yield
        return
    stream = sys.stderr
    timer = threading.Timer(QUIET, lambda: print(text, file=stream, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def completing() -> bool:
    """Whether the shell asks what could come next."""
    return bool(os.environ.get(COMPLETING))


def recipes(incomplete: str) -> list[str]:
    """The bundled recipes, folders and recipe files that begin so."""
    from adaptkit.recipe.bundled import bundled_names

    return [name for name in bundled_names() if name.startswith(incomplete)] + files(incomplete, ".toml")


def files(incomplete: str, suffix: str) -> list[str]:
    """Folders and files of this kind that begin so."""
    path = Path(incomplete)
    folder, begin = (path, "") if incomplete.endswith("/") else (path.parent, path.name if incomplete else "")
    if not folder.is_dir():
        return []
    found = [entry for entry in sorted(folder.iterdir()) if entry.name.startswith(begin)]
    return [
        f"{entry}/" if entry.is_dir() else str(entry) for entry in found if entry.is_dir() or entry.suffix == suffix
    ]
