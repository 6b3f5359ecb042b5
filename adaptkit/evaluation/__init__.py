"""Metrics, evaluation of trained models, and predictions.

Imported on first use, so that importing a torch-free module of this package stays fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptkit.lazy import lazily

if TYPE_CHECKING:
    from adaptkit.evaluation.evaluating import Evaluation, evaluate
    from adaptkit.evaluation.predicting import predict

_HOME = {
    "Evaluation": "evaluating",
    "evaluate": "evaluating",
    "predict": "predicting",
}

__all__ = [
    "Evaluation",
    "evaluate",
    "predict",
]

__getattr__, __dir__ = lazily(__name__, _HOME)
