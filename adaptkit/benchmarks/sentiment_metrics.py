"""The conventions of sentiment as one number: CMU-MOSI and MOSEI (MMSA, MulT), and CH-SIMS (MMSA)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from adaptkit.tasks.metric import METRICS, Metric, MetricSet, Values

# N samples; p predictions, y truth

# Upper edges of the bins, which they contain; the last bin is what lies above.
SIMS_BINS = {"acc2_sims": (0.0,), "acc3_sims": (-0.1, 0.1), "acc5_sims": (-0.7, -0.1, 0.1, 0.7)}


@METRICS.register("mosi")
class MosiMetrics(MetricSet):
    """CMU-MOSI and MOSEI: Acc-2 in three definitions, F1, Acc-3, -5 and -7."""

    tasks: ClassVar[tuple[str, ...]] = ("regression",)
    outputs: ClassVar[int | None] = 1
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("corr", "Pearson correlation under the name of the papers"),
        Metric("acc2_has0", "same side of (p >= 0, y >= 0), all samples"),
        Metric("acc2_non0", "same side of (p > 0, y > 0), samples with y != 0"),
        Metric("acc2_gt0_all", "same side of (p > 0, y > 0), all samples (zero is negative)"),
        Metric("f1_has0", "weighted F1 of the decisions of `acc2_has0`"),
        Metric("f1_non0", "weighted F1 of the decisions of `acc2_non0`"),
        Metric("f1_gt0_all", "weighted F1 of the decisions of `acc2_gt0_all`"),
        Metric("f1_non0_swapped", "as `f1_non0`, weighted by how often each is predicted (MulT)"),
        Metric("f1_gt0_all_swapped", "as `f1_gt0_all`, weighted by how often each is predicted (MulT)"),
        Metric("acc3", "same whole number after clipping to [-1, 1]"),
        Metric("acc5", "same whole number after clipping to [-2, 2]"),
        Metric("acc7", "same whole number after clipping to [-3, 3]"),
    )

    def compute(self, scores: np.ndarray, targets: np.ndarray, task: Any) -> tuple[Values, list[str]]:
        return mosi(scores.reshape(-1), targets.reshape(-1))


@METRICS.register("sims")
class SimsMetrics(MetricSet):
    """CH-SIMS: accuracy of two, three and five bins, F1, MAE and correlation after clipping to [-1, 1]."""

    tasks: ClassVar[tuple[str, ...]] = ("regression",)
    outputs: ClassVar[int | None] = 1
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("acc2_sims", "same bin of [-1, 0], (0, 1] (zero is negative)"),
        Metric("acc3_sims", "same bin of [-1, -.1], (-.1, .1], (.1, 1]"),
        Metric("acc5_sims", "same bin of [-1, -.7], (-.7, -.1], (-.1, .1], (.1, .7], (.7, 1]"),
        Metric("f1_sims", "weighted F1 of the bins of `acc2_sims`"),
        Metric("mae_sims", "mean absolute error after clipping to [-1, 1]", False),
        Metric("corr_sims", "Pearson correlation after clipping to [-1, 1]"),
    )

    def compute(self, scores: np.ndarray, targets: np.ndarray, task: Any) -> tuple[Values, list[str]]:
        return sims(scores.reshape(-1), targets.reshape(-1))


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
    constant = (p == p[0]).all() or (y == y[0]).all()  # told by the task, whose `pearson` is the same
    return {**values, "corr": None if constant else float(np.corrcoef(y, p)[0, 1])}, notes


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
