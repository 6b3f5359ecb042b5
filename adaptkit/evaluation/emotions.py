"""Every label of a multilabel task as a yes/no problem of its own: the conventions of IEMOCAP and MOSEI's emotions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Values = dict[str, float | None]

# N samples, C labels


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
        values |= _one(label, true, told)
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


def _one(label: str, true: np.ndarray, told: np.ndarray) -> Values:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

    if not true.any():
        return dict.fromkeys((f"accuracy_{label}", f"weighted_accuracy_{label}", f"f1_weighted_{label}"))
    return {
        f"accuracy_{label}": float(accuracy_score(true, told)),
        f"weighted_accuracy_{label}": None if true.all() else float(balanced_accuracy_score(true, told)),
        f"f1_weighted_{label}": float(f1_score(true, told, average="weighted")),
    }
