"""The metrics of any number of labels per sample."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from adaptkit.tasks.labels import F1, ZERO
from adaptkit.tasks.metric import Metric, Values

# N samples, C labels


METRICS = (
    Metric("ap_micro", "average precision over all sample-label pairs at once"),
    Metric("ap_macro", "average precision per label, mean over the labels with positives"),
    Metric("ap_samples", "average precision per sample, mean over the samples with labels"),
    *F1,
    Metric("f1_samples", "F1 per sample, mean over samples (nothing true or predicted: 0)"),
    Metric("n_classes_evaluated", "how many labels have positives (a count)", None),
)


def multilabel(scores: np.ndarray, targets: np.ndarray, threshold: float) -> tuple[Values, list[str]]:
    """Every metric of (N, C) probabilities and (N, C) of 0 and 1, with labels predicted from the threshold on."""
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


def _mean(score: Callable[..., float], targets: np.ndarray, scores: np.ndarray) -> float:
    with warnings.catch_warnings():  # a single positive class per sample is what is asked for here
        warnings.simplefilter("ignore", UserWarning)
        return float(np.mean([score(t, s) for t, s in zip(targets, scores, strict=True)]))
