"""Tasks: target, loss, metrics, decoding. One file per kind, registered by being imported here."""

from __future__ import annotations

from adaptkit.tasks import classification, multilabel, regression, retrieval
from adaptkit.tasks.metric import METRICS, Metric
from adaptkit.tasks.task import TASKS, Task

__all__ = ["METRICS", "TASKS", "Metric", "Task", "classification", "multilabel", "regression", "retrieval"]
