"""The conventions of emotions as yes/no problems of their own: IEMOCAP and CMU-MOSEI's emotions (MulT)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from adaptkit.tasks.metric import METRICS, Metric, MetricSet, Values

# N samples, C labels

MEAN_F1 = Metric("mean_f1_weighted", "mean of `f1_weighted_LABEL`")
F1 = Metric("f1_weighted_LABEL", "F1 of yes and of no of one label, weighted by how often each is true")


class EmotionMetrics(MetricSet):
    """Every label as a yes/no problem."""

    tasks: ClassVar[tuple[str, ...]] = ("multilabel",)

    def compute(self, scores: np.ndarray, targets: np.ndarray, task: Any) -> tuple[Values, list[str]]:
        return per_label(scores >= task.threshold, targets, task.labels)


@METRICS.register("iemocap")
class IemocapMetrics(EmotionMetrics):
    """IEMOCAP: accuracy and weighted F1 of every label as a yes/no problem."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("mean_accuracy", "mean of `accuracy_LABEL`"),
        MEAN_F1,
        Metric("accuracy_LABEL", "accuracy of one label as a yes/no problem"),
        F1,
    )


@METRICS.register("mosei_emotions")
class MoseiEmotionMetrics(EmotionMetrics):
    """CMU-MOSEI's emotions: weighted accuracy and weighted F1 of every label as a yes/no problem."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("mean_weighted_accuracy", "mean of `weighted_accuracy_LABEL`"),
        MEAN_F1,
        Metric("weighted_accuracy_LABEL", "mean recall of yes and no of one label, (TP*n/p + TN) / 2n"),
        F1,
    )


def per_label(predicted: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> tuple[Values, list[str]]:
    """Accuracy, weighted accuracy and weighted F1 of each label, and their means; (N, C) of 0 and 1 each.

    F1 is that of yes and that of no, weighted by how often each is true (MulT's `eval_iemocap`). Weighted accuracy
    is MulT's (TP * n/p + TN) / 2n: the mean recall of yes and no. A label that no sample has says nothing about a
    model that never predicts it, so it is None and out of the means; so is the weighted accuracy of a label that
    every sample has.
    """
    values: Values = {}
    notes: list[str] = []
    for label, true, told in zip(labels, targets.T.astype(bool), predicted.T.astype(bool), strict=True):
        values |= _yes_or_no(label, true, told)
        if not true.any():
            notes.append(f"the metrics of {label!r} are undefined: no sample has it")
        elif true.all():
            notes.append(f"every sample has {label!r}, which leaves its weighted accuracy undefined")
        elif told.all() or not told.any():
            notes.append(f"{label!r} is {'always' if told.all() else 'never'} predicted")
    for name in ("accuracy", "weighted_accuracy", "f1_weighted"):
        found = [value for label in labels if (value := values[f"{name}_{label}"]) is not None]
        values[f"mean_{name}"] = float(np.mean(found)) if found else None
    return values, notes


def _yes_or_no(label: str, true: np.ndarray, told: np.ndarray) -> Values:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

    if not true.any():
        return dict.fromkeys((f"accuracy_{label}", f"weighted_accuracy_{label}", f"f1_weighted_{label}"))
    return {
        f"accuracy_{label}": float(accuracy_score(true, told)),
        f"weighted_accuracy_{label}": None if true.all() else float(balanced_accuracy_score(true, told)),
        f"f1_weighted_{label}": float(f1_score(true, told, average="weighted")),
    }
