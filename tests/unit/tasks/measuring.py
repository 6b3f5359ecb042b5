"""Metrics of a task, of arrays: what `Task.measure` gives without a recipe."""

from __future__ import annotations

from typing import Any

import numpy as np

from adaptkit.tasks import TASKS, Task
from adaptkit.tasks.metric import Metric, Values


def task_of(kind: str, width: int, labels: tuple[str, ...] = (), conventions: str = "none", **keys: Any) -> Task:
    further = {"sets": [] if conventions == "none" else [conventions], **keys}
    if kind in ("classification", "multilabel"):
        return TASKS[kind]("x", labels or tuple(map(str, range(width))), **further)
    if kind == "generation":
        return TASKS[kind].build(TASKS[kind].table(kind=kind), "x")
    return TASKS[kind]("x", **({"width": width // 2} if kind == "retrieval" else {"outputs": width}), **further)


def compute(kind: str, scores: np.ndarray, targets: np.ndarray, **keys: Any) -> tuple[Values, list[str]]:
    return task_of(kind, scores.shape[-1] if scores.ndim > 1 else 1, **keys).measure(scores, targets)


def metrics_of(kind: str, conventions: str = "none", labels: tuple[str, ...] = ()) -> dict[str, Metric]:
    return task_of(kind, max(len(labels), 1), labels, conventions).measured
