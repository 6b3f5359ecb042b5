"""The tasks, one folder each: the keys of `[task.NAME]`, targets, loss, head, metrics, decoding."""

from __future__ import annotations

from adaptkit.kinds.index import homes_of
from adaptkit.lazy import lazily

_HOMES = {
    "HEADS": "heads",
    "LOSSES": "losses",
    "METRICS": "metric",
    "Metric": "metric",
    "MetricSet": "metric",
    "TASKS": "task",
    "Task": "task",
    "loss_for": "losses",
    **homes_of("tasks"),
}

__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = lazily(__name__, _HOMES)
