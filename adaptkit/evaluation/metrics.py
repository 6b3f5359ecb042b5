"""Metrics under named conventions, by scikit-learn. What is undefined is None with a warning, never 0.

Imports scikit-learn only when it computes, and torch never.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adaptkit.evaluation.conventions import Values, mosi, per_label, sims
from adaptkit.evaluation.retrieval import retrieval
from adaptkit.tasks.metric import CLASSIFICATION, METRICS, MULTILABEL, REGRESSION, RETRIEVAL, Metric, metrics_of

__all__ = ["METRICS", "Metric", "compute", "metrics_of"]

ZERO: dict[str, Any] = {"zero_division": 0}  # 0/0 in a ratio counts as 0
BINS = 15  # of the calibration error

# N samples, C labels, O outputs


def compute(
    kind: str,
    scores: np.ndarray,
    targets: np.ndarray,
    *,
    threshold: float = 0.5,
    conventions: str = "none",
    labels: Sequence[str] = (),
) -> tuple[Values, list[str]]:
    """Every metric of a kind of task, and a warning for each that is undefined or leaves something out.

    Args:
        kind: `classification`, `multilabel`, `regression` or `retrieval`.
        scores: (N, C) probabilities for classification and multilabel, (N, O) values for regression, (N, 2*P)
            vectors of queries and items for retrieval.
        targets: (N,) label indices, (N, C) of 0 and 1, (N, O) values, or (N,) marks of items.
        threshold: probability from which a label of multilabel is predicted.
        conventions: whose metrics are added; see `adaptkit.tasks.metric`.
        labels: their names; by default their numbers.

    Returns:
        metric -> value or None, in the order of `metrics_of(kind, conventions, labels)`; warnings.
    """
    assert len(scores) == len(targets), f"{len(scores)} scores for {len(targets)} targets"
    if kind in (CLASSIFICATION, MULTILABEL):
        labels = labels or tuple(map(str, range(scores.shape[1])))
    known = metrics_of(kind, conventions, labels)
    if len(targets) == 0:
        return dict.fromkeys(known), ["there are no samples, so no metric is defined"]
    if not np.isfinite(scores).all():
        return dict.fromkeys(known), ["the outputs are not all finite, so no metric is defined"]
    scores, targets = np.asarray(scores, dtype=np.float64), np.asarray(targets)
    if kind == CLASSIFICATION:
        values, notes = _classification(scores, targets, labels)
    elif kind == MULTILABEL:
        values, notes = _multilabel(scores, targets.astype(np.int64), threshold)
        if conventions != "none":
            more, told = per_label(scores >= threshold, targets, labels)
            values, notes = values | more, notes + told
    elif kind == REGRESSION:
        values, notes = _regression(scores, targets)
        if conventions != "none":
            more, told = (mosi if conventions == "mosi" else sims)(scores.reshape(-1), targets.reshape(-1))
            values, notes = {**values, "corr": values["pearson"], **more}, notes + told
    else:
        assert kind == RETRIEVAL, kind
        values, notes = retrieval(scores, targets)
    return {name: values[name] for name in known}, notes


def _classification(scores: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> tuple[Values, list[str]]:
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


def calibration(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, float | None]:
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


def _multilabel(scores: np.ndarray, targets: np.ndarray, threshold: float) -> tuple[Values, list[str]]:
    from sklearn.metrics import f1_score

    values, notes = _average_precisions(scores, targets)  # (N, C)
    predicted = (scores >= threshold).astype(np.int64)
    unused = int((~(targets.any(axis=0) | predicted.any(axis=0))).sum())
    if unused:
        notes.append(f"f1_macro counts {unused} of {targets.shape[1]} labels as 0: neither true nor predicted")
    if len(scores) > 1 and (scores == scores[0]).all():
        notes.append("every sample has the same probabilities")
    if targets.shape[1] == 1:  # scikit-learn calls this binary; a second label, always false, changes nothing
        blank = np.zeros_like(targets)
        values["f1_samples"] = float((targets * predicted).mean())
        padded = np.hstack([targets, blank]), np.hstack([predicted, blank])
        for average in ("micro", "macro", "weighted"):
            values[f"f1_{average}"] = float(f1_score(*padded, labels=[0], average=average, **ZERO))
        return values, notes
    for average in ("micro", "macro", "weighted", "samples"):
        values[f"f1_{average}"] = float(f1_score(targets, predicted, average=average, **ZERO))
    return values, notes


def _average_precisions(scores: np.ndarray, targets: np.ndarray) -> tuple[Values, list[str]]:
    from sklearn.metrics import average_precision_score

    notes: list[str] = []
    labels, samples = targets.sum(axis=0) > 0, targets.sum(axis=1) > 0  # (C,), (N,)
    values: Values = {
        "n_classes_evaluated": int(labels.sum()),
        "ap_micro": None,
        "ap_macro": None,
        "ap_samples": None,
    }
    if not labels.any():
        return values, ["ap_micro, ap_macro and ap_samples are undefined: no sample has a label"]
    values["ap_micro"] = float(average_precision_score(targets.ravel(), scores.ravel()))
    values["ap_macro"] = _mean(average_precision_score, targets.T[labels], scores.T[labels])
    values["ap_samples"] = _mean(average_precision_score, targets[samples], scores[samples])
    if not labels.all():
        notes.append(f"ap_macro leaves out {int((~labels).sum())} of {len(labels)} labels: they have no positives")
    if not samples.all():
        notes.append(f"ap_samples leaves out {int((~samples).sum())} of {len(samples)} samples: they have no labels")
    return values, notes


def _regression(scores: np.ndarray, targets: np.ndarray) -> tuple[Values, list[str]]:
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

    scores, targets = scores.reshape(len(scores), -1), targets.reshape(len(targets), -1)  # (N, O)
    mse = float(mean_squared_error(targets, scores))
    values: Values = {"mae": float(mean_absolute_error(targets, scores)), "mse": mse, "rmse": mse**0.5}
    flat_targets, flat_scores = (bool((x == x[0]).all(axis=0).any()) for x in (targets, scores))
    notes = []
    values["r2"] = None if flat_targets else float(r2_score(targets, scores))
    if flat_targets:
        notes.append("r2, pearson and spearman are undefined: the targets are constant")
    elif flat_scores:
        notes.append("pearson and spearman are undefined: the predictions are constant")
    if flat_targets or flat_scores:
        return {**values, "pearson": None, "spearman": None}, notes
    ranks = (np.apply_along_axis(_ranks, 0, x) for x in (targets, scores))
    values["pearson"] = _mean(_correlation, targets.T, scores.T)
    values["spearman"] = _mean(_correlation, *(x.T for x in ranks))
    return values, notes


def _mean(score: Callable[..., float], targets: np.ndarray, scores: np.ndarray) -> float:
    with warnings.catch_warnings():  # a single positive class per sample is what is asked for here
        warnings.simplefilter("ignore", UserWarning)
        return float(np.mean([score(t, s) for t, s in zip(targets, scores, strict=True)]))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """(N,) ranks, ties averaged."""
    from scipy.stats import rankdata

    return rankdata(values)
