"""The metrics of one label out of several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adaptkit.tasks.labels import F1, ZERO
from adaptkit.tasks.metric import Metric, Values

# N samples, C labels

BINS = 15  # of the calibration error

METRICS = (
    Metric("accuracy", "share of samples whose label is predicted (WA)"),
    Metric("accuracy_top5", "share whose label is among the five likeliest", least_labels=6),
    Metric("balanced_accuracy", "mean recall of the labels that occur (UA)"),
    *F1,
    Metric("ece", "expected calibration error, 15 bins of equal width", False),
    Metric("brier", "squared error of all probabilities, summed over labels (0 to 2)", False),
    Metric("nll", "negative log-likelihood of the true label, in nats", False),
)


def classification(scores: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> tuple[Values, list[str]]:
    """Every metric of (N, C) probabilities and (N,) label indices."""
    from sklearn.metrics import accuracy_score, f1_score, recall_score, top_k_accuracy_score

    predicted = scores.argmax(axis=1)  # (N,)
    values: Values = {"accuracy": float(accuracy_score(targets, predicted)), **calibration(scores, targets)}
    occurring = np.unique(targets)
    values["balanced_accuracy"] = float(recall_score(targets, predicted, labels=occurring, average="macro", **ZERO))
    for average in ("micro", "macro", "weighted"):
        values[f"f1_{average}"] = float(f1_score(targets, predicted, average=average, **ZERO))
    if len(labels) > 5:
        values["accuracy_top5"] = float(top_k_accuracy_score(targets, scores, k=5, labels=np.arange(len(labels))))
    constant = len(targets) > 1 and bool((predicted == predicted[0]).all())
    return values, [f"every sample is predicted as {labels[int(predicted[0])]!r}"] if constant else []


def calibration(probabilities: np.ndarray, targets: np.ndarray) -> Values:
    """Expected calibration error, Brier score and negative log-likelihood of (N, C) probabilities.

    The first is that of Guo et al. 2017, eq. 3: samples in 15 bins (a, b] of the predicted label's probability,
    mean distance of accuracy and confidence, weighted by the bins' sizes. The second is Brier's own (1950): summed
    over all labels, so that it lies between 0 and 2. The third takes probabilities below 2.2e-16 as that number.
    """
    from sklearn.metrics import log_loss

    p = probabilities / probabilities.sum(1, keepdims=True)  # exact in float64: log_loss asks for it
    everything = np.arange(p.shape[1])
    true = targets[:, None] == everything  # (N, C)
    return {
        "ece": _expected_error(p.max(1), p.argmax(1) == targets),
        "brier": float(((p - true) ** 2).sum(1).mean()),
        "nll": float(log_loss(targets, p, labels=everything)),
    }


def _expected_error(confidence: np.ndarray, right: np.ndarray) -> float:
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    bins = np.digitize(confidence, edges, right=True)  # (N,)
    distances = np.bincount(bins, weights=right.astype(np.float64) - confidence, minlength=BINS)
    return float(np.abs(distances).sum() / len(confidence))
