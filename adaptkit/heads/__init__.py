"""Heads: the pooled vector of a sample -> the outputs of a task."""

from __future__ import annotations

from adaptkit.heads.head import HEADS, build_head
from adaptkit.heads.retrieval import build_task_head

__all__ = ["HEADS", "build_head", "build_task_head"]
