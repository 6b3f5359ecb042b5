"""File operations of a process, counted; before or after one of them the process kills itself."""

from __future__ import annotations

import builtins
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

Side = Literal["before", "after"]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
NAMED = ("replace", "rename", "link", "unlink", "remove", "mkdir", "rmdir", "chmod", "truncate")


class Operations:
    """Counts what changes files below a folder: renaming, making and removing, opening for writing, and every sync.

    Args:
        folder: only what happens there counts.
        kill: number of the operation (from 0) and the side of it at which the process dies; None: none.
    """

    def __init__(self, folder: Path, kill: tuple[int, Side] | None = None) -> None:
        self.folder, self.kill, self.seen = str(folder.resolve()), kill, []

    def install(self) -> Operations:
        """From now on, in this process. There is no way back: it is a child that ends soon."""
        for name in NAMED:
            setattr(os, name, self.counted(getattr(os, name), name, lambda path, *more: True))
        os.fsync = self.counted(os.fsync, "fsync", lambda handle: True)
        os.open = self.counted(os.open, "os.open", lambda path, flags, *more: bool(flags & WRITING))
        opens = self.counted(io.open, "open", lambda path, mode="r", *more: set(mode) & set("wax+"))
        io.open = opens
        builtins.open = opens
        return self

    def counted(self, operation: Callable[..., Any], name: str, counts: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **keys: Any) -> Any:
            modes = {"mode": keys["mode"]} if name == "open" and "mode" in keys else {}
            if not counts(*args, **modes) or not (keys.get("dir_fd") or self.here(args[0])):
                return operation(*args, **keys)
            number = len(self.seen)
            self.seen.append(f"{name} {args[0]}")
            self.die(number, "before")
            try:
                return operation(*args, **keys)
            finally:  # also where there was nothing to remove, or it was there already
                self.die(number, "after")

        return wrapped

    def here(self, path: Any) -> bool:
        return isinstance(path, int) or os.path.abspath(os.fsdecode(path)).startswith(self.folder)

    def die(self, number: int, side: Side) -> None:
        if self.kill == (number, side):
            os.kill(os.getpid(), signal.SIGKILL)
