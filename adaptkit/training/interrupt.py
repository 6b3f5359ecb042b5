"""Ctrl-C and SIGTERM ask for a stop; the loop answers after the step it is in."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class StopRequested(Exception):  # noqa: N818 - not an error: the loop unwinds to the place that saves
    """Raised by `Stop.check` between two batches, and by callbacks that end a run."""


class Stop:
    """While open, the first signal sets `requested`; a second Ctrl-C stops at once.

    Signals reach the main thread only, so elsewhere the handlers are not installed and `requested` may be set
    by the caller. The former handlers come back when the block ends.
    """

    def __init__(self) -> None:
        self.requested = False
        self._former: dict[int, Any] = {}

    def check(self) -> None:
        """Raises StopRequested if a stop was asked for."""
        if self.requested:
            raise StopRequested

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
