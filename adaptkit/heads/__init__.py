"""Heads: the pooled vector of a sample -> the outputs of a task."""

from __future__ import annotations

from adaptkit.heads.head import HEADS, build_head

__all__ = ["HEADS", "build_head"]
