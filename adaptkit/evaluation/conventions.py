"""Metrics as fields report them: sentiment as one number, and labels as yes/no problems of their own.

The first are the conventions of CMU-MOSI and MOSEI (MMSA, MulT) and of CH-SIMS (MMSA), the second those of IEMOCAP and
MOSEI's emotions (MulT).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Values = dict[str, float | None]

# N samples, C labels; p predictions, y truth

# Upper edges of the bins, which they contain; the last bin is what lies above.
SIMS_BINS = {"acc2_sims": (0.0,), "acc3_sims": (-0.1, 0.1), "acc5_sims": (-0.7, -0.1, 0.1, 0.7)}


def mosi(p: np.ndarray, y: np.ndarray) -> tuple[Values, list[str]]:
    """Acc-2 and F1 in their definitions, and the accuracy of whole numbers; (N,) each.

    `has0` parts negative from non-negative, `non0` negative from positive without the neutral samples, `gt0_all`
    positive from the rest. F1 is weighted by how often each side is true; MulT hands scikit-learn the two arguments
    in the other order, so that its F1 is weighted by how often each side is predicted: `swapped`. Whole numbers are
    numpy's, which rounds halves to even.
    """
    values: Values = {}
    notes: list[str] = []
    some = y != 0
    sides = {"has0": (p >= 0, y >= 0), "non0": (p[some] > 0, y[some] > 0), "gt0_all": (p > 0, y > 0)}
    for name, (predicted, true) in sides.items():
        values |= {f"acc2_{name}": None, f"f1_{name}": None, f"f1_{name}_swapped": None}
        if len(true) == 0:
            notes.append(f"acc2_{name} and f1_{name} are undefined: every target is 0")
            continue
        values[f"acc2_{name}"] = float((predicted == true).mean())
        values[f"f1_{name}"] = _f1(true, predicted)
        values[f"f1_{name}_swapped"] = _f1(predicted, true)
        if len(true) > 1 and predicted.all() | (~predicted).all():
            notes.append(f"acc2_{name} and f1_{name}: every prediction is on the same side of 0")
    for name, most in (("acc3", 1), ("acc5", 2), ("acc7", 3)):
        values[name] = float((np.round(p.clip(-most, most)) == np.round(y.clip(-most, most))).mean())
    return values, notes


def sims(p: np.ndarray, y: np.ndarray) -> tuple[Values, list[str]]:
    """Accuracy of bins of [-1, 1], and all else after clipping to it; (N,) each.

    Edges are compared in float32, in which labels are stored: the label 0.1 is not above the edge 0.1.
    """
    p, y = (x.astype(np.float32).clip(-1, 1) for x in (p, y))
    values: Values = {"mae_sims": float(np.abs(p.astype(np.float64) - y).mean())}
    for name, edges in SIMS_BINS.items():
        predicted, true = (np.digitize(x, np.float32(edges), right=True) for x in (p, y))  # (N,) numbers of bins
        values[name] = float((predicted == true).mean())
        if name == "acc2_sims":
            values["f1_sims"] = _f1(true, predicted)
    constant = next((what for what, x in (("targets", y), ("predictions", p)) if (x == x[0]).all()), None)
    if constant is not None:
        return {**values, "corr_sims": None}, [f"corr_sims is undefined: the {constant} are constant in [-1, 1]"]
    return {**values, "corr_sims": float(np.corrcoef(p.astype(np.float64), y)[0, 1])}, []


def _f1(true: np.ndarray, predicted: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(true, predicted, average="weighted"))


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
