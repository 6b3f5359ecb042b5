"""Metrics, evaluation of trained models, and predictions.

Imported on first use, so that importing a torch-free module of this package stays fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
