"""How long a sample takes in training, on the machine that trains."""

from __future__ import annotations

import statistics
import time

from adaptkit.training.callbacks import Callback, StepDone


class Pace(Callback):
    """Takes the time from each step to the next one of its epoch: loading and logging are in it, validation is not."""

    def __init__(self) -> None:
        self._before: tuple[tuple[int, int], float] | None = None
        self._took: list[float] = []

    def step_done(self, event: StepDone) -> None:
        epoch, now = (event.seed, event.epoch), time.monotonic()
        if self._before is not None and self._before[0] == epoch and event.samples:
            self._took.append((now - self._before[1]) / event.samples)
        self._before = epoch, now

    @property
    def seconds_per_sample(self) -> float | None:
        """The median over all steps; None where no epoch had two."""
        return statistics.median(self._took) if self._took else None
