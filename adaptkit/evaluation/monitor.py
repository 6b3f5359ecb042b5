"""The one number that chooses the best epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from adaptkit.errors import UnavailableError
from adaptkit.tasks.metric import named
from adaptkit.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Monitor:
    """Which metric of which task counts.

    Attributes:
        metrics: metric names as they stand in the results.
        signs: +1 where more is better, -1 where less is.
        scales: what counts as 1 of each.
    """

    metrics: tuple[str, ...]
    signs: tuple[int, ...]
    scales: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """`accuracy`, or `genres.ap_micro + rating.mae` for several tasks."""
        return " + ".join(self.metrics)

    def score(self, metrics: Mapping[str, float | None]) -> float | None:
        """Mean over the tasks, turned so that more is better; None if one of them is undefined."""
        values = [metrics.get(name) for name in self.metrics]
        if any(value is None or not math.isfinite(value) for value in values):
            return None
        units = [sign / scale for sign, scale in zip(self.signs, self.scales or (1.0,) * len(values), strict=True)]
        signed = [unit * float(value or 0.0) for unit, value in zip(units, values, strict=True)]
        return sum(signed) / len(signed)


def build_monitor(tasks: Mapping[str, Task]) -> Monitor:
    """The metric that each task monitors, by its recipe or by default."""
    names = tuple(
        "loss" if task.monitor == "loss" else metric_name(name, task.monitor, several=len(tasks) > 1)
        for name, task in tasks.items()
    )
    signs = tuple(1 if task.higher_is_better(task.monitor) else -1 for task in tasks.values())
    return Monitor(names, signs, tuple(task.monitor_scale for task in tasks.values()))


def check_monitor_runs(tasks: Mapping[str, Task]) -> None:
    """Whether what chooses the best epoch can be computed at all, before a training begins.

    Raises:
        UnavailableError: this machine lacks what a monitored metric needs.
    """
    for name, task in tasks.items():
        for further in task.sets.values():
            if task.monitor in named(further.metrics, task.labels) and (why := further.lacking()):
                message = f"{task.monitor!r} cannot be computed on this machine: {why}."
                raise UnavailableError(message, where=f"task.{name}.monitor", hint="Monitor another metric.")


def metric_name(task: str, metric: str, *, several: bool) -> str:
    """`accuracy`, or `genres.accuracy` where several tasks have metrics."""
    return f"{task}.{metric}" if several else metric
