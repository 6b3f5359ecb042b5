"""The metrics there are, by name: data only. `adaptkit.evaluation.metrics` computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CLASSIFICATION, MULTILABEL, REGRESSION, RETRIEVAL = "classification", "multilabel", "regression", "retrieval"
LABEL = "LABEL"


@dataclass(frozen=True, slots=True)
class Metric:
    """One named convention.

    Attributes:
        name: as in recipes, tables and JSON. `LABEL` in it stands for each label of the task.
        kinds: the kinds of task that have it.
        description: one line, with the convention where several are in use.
        higher_is_better: the direction of `monitor`; None for a count that cannot be monitored.
        conventions: values of the task's key `conventions` that add it; empty where it is always there.
        least_labels: tasks with fewer labels do not have it.
    """

    name: str
    kinds: tuple[str, ...]
    description: str
    higher_is_better: bool | None = True
    conventions: tuple[str, ...] = ()
    least_labels: int = 0

    @property
    def where(self) -> str:
        """`classification, multilabel`, or `regression (mosi)` where a task's `conventions` must name it."""
        return ", ".join(self.kinds) + (f" ({', '.join(self.conventions)})" if self.conventions else "")


LABELLED = (CLASSIFICATION, MULTILABEL)
NUMBERS, MOSI, SIMS = (REGRESSION,), ("mosi",), ("sims",)
EMOTIONS, IEMOCAP, MOSEI = ("iemocap", "mosei_emotions"), ("iemocap",), ("mosei_emotions",)
ANY = (CLASSIFICATION, MULTILABEL, REGRESSION, RETRIEVAL)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("loss", ANY, "the training loss, mean over samples", False),
        Metric("accuracy", (CLASSIFICATION,), "share of samples whose label is predicted (WA)"),
        Metric("accuracy_top5", (CLASSIFICATION,), "share whose label is among the five likeliest", least_labels=6),
        Metric("balanced_accuracy", (CLASSIFICATION,), "mean recall of the labels that occur (UA)"),
        Metric("ap_micro", (MULTILABEL,), "average precision over all sample-label pairs at once"),
        Metric("ap_macro", (MULTILABEL,), "average precision per label, mean over the labels with positives"),
        Metric("ap_samples", (MULTILABEL,), "average precision per sample, mean over the samples with labels"),
        Metric("f1_micro", LABELLED, "F1 over all decisions at once"),
        Metric("f1_macro", LABELLED, "F1 per label, mean over labels (0/0 counts as 0)"),
        Metric("f1_weighted", LABELLED, "F1 per label, weighted by how often it is true"),
        Metric("f1_samples", (MULTILABEL,), "F1 per sample, mean over samples (nothing true or predicted: 0)"),
        Metric("n_classes_evaluated", (MULTILABEL,), "how many labels have positives (a count)", None),
        Metric("ece", (CLASSIFICATION,), "expected calibration error, 15 bins of equal width", False),
        Metric("brier", (CLASSIFICATION,), "squared error of all probabilities, summed over labels (0 to 2)", False),
        Metric("nll", (CLASSIFICATION,), "negative log-likelihood of the true label, in nats", False),
        Metric("mean_accuracy", (MULTILABEL,), "mean of `accuracy_LABEL`", conventions=IEMOCAP),
        Metric("mean_weighted_accuracy", (MULTILABEL,), "mean of `weighted_accuracy_LABEL`", conventions=MOSEI),
        Metric("mean_f1_weighted", (MULTILABEL,), "mean of `f1_weighted_LABEL`", conventions=EMOTIONS),
        Metric("accuracy_LABEL", (MULTILABEL,), "accuracy of one label as a yes/no problem", conventions=IEMOCAP),
        Metric(
            "weighted_accuracy_LABEL",
            (MULTILABEL,),
            "mean recall of yes and no of one label, (TP*n/p + TN) / 2n",
            conventions=MOSEI,
        ),
        Metric(
            "f1_weighted_LABEL",
            (MULTILABEL,),
            "F1 of yes and of no of one label, weighted by how often each is true",
            conventions=EMOTIONS,
        ),
        Metric("mae", NUMBERS, "mean absolute error", False),
        Metric("mse", NUMBERS, "mean squared error", False),
        Metric("rmse", NUMBERS, "root of the mean squared error", False),
        Metric("r2", NUMBERS, "coefficient of determination, mean over outputs"),
        Metric("pearson", NUMBERS, "Pearson correlation, mean over outputs"),
        Metric("spearman", NUMBERS, "Spearman rank correlation, mean over outputs"),
        Metric("corr", NUMBERS, "Pearson correlation under the name of the papers", conventions=MOSI),
        Metric("acc2_has0", NUMBERS, "same side of (p >= 0, y >= 0), all samples", conventions=MOSI),
        Metric("acc2_non0", NUMBERS, "same side of (p > 0, y > 0), samples with y != 0", conventions=MOSI),
        Metric(
            "acc2_gt0_all", NUMBERS, "same side of (p > 0, y > 0), all samples (zero is negative)", conventions=MOSI
        ),
        Metric("f1_has0", NUMBERS, "weighted F1 of the decisions of `acc2_has0`", conventions=MOSI),
        Metric("f1_non0", NUMBERS, "weighted F1 of the decisions of `acc2_non0`", conventions=MOSI),
        Metric("f1_gt0_all", NUMBERS, "weighted F1 of the decisions of `acc2_gt0_all`", conventions=MOSI),
        Metric(
            "f1_non0_swapped",
            NUMBERS,
            "as `f1_non0`, weighted by how often each is predicted (MulT)",
            conventions=MOSI,
        ),
        Metric(
            "f1_gt0_all_swapped",
            NUMBERS,
            "as `f1_gt0_all`, weighted by how often each is predicted (MulT)",
            conventions=MOSI,
        ),
        Metric("acc3", NUMBERS, "same whole number after clipping to [-1, 1]", conventions=MOSI),
        Metric("acc5", NUMBERS, "same whole number after clipping to [-2, 2]", conventions=MOSI),
        Metric("acc7", NUMBERS, "same whole number after clipping to [-3, 3]", conventions=MOSI),
        Metric("acc2_sims", NUMBERS, "same bin of [-1, 0], (0, 1] (zero is negative)", conventions=SIMS),
        Metric("acc3_sims", NUMBERS, "same bin of [-1, -.1], (-.1, .1], (.1, 1]", conventions=SIMS),
        Metric(
            "acc5_sims", NUMBERS, "same bin of [-1, -.7], (-.7, -.1], (-.1, .1], (.1, .7], (.7, 1]", conventions=SIMS
        ),
        Metric("f1_sims", NUMBERS, "weighted F1 of the bins of `acc2_sims`", conventions=SIMS),
        Metric("mae_sims", NUMBERS, "mean absolute error after clipping to [-1, 1]", False, SIMS),
        Metric("corr_sims", NUMBERS, "Pearson correlation after clipping to [-1, 1]", conventions=SIMS),
        Metric("q2g_r1", (RETRIEVAL,), "R@1: share of queries whose item has rank 1 in the gallery"),
        Metric("q2g_r5", (RETRIEVAL,), "R@5 of the queries"),
        Metric("q2g_r10", (RETRIEVAL,), "R@10 of the queries"),
        Metric("q2g_mdr", (RETRIEVAL,), "MdR: median rank of the queries' items", False),
        Metric("q2g_mnr", (RETRIEVAL,), "MnR: mean rank of the queries' items", False),
        Metric("g2q_r1", (RETRIEVAL,), "R@1: share of items whose best query has rank 1"),
        Metric("g2q_r5", (RETRIEVAL,), "R@5 of the items"),
        Metric("g2q_r10", (RETRIEVAL,), "R@10 of the items"),
        Metric("g2q_mdr", (RETRIEVAL,), "MdR: median rank of the items' queries", False),
        Metric("g2q_mnr", (RETRIEVAL,), "MnR: mean rank of the items' queries", False),
        Metric("n_gallery", (RETRIEVAL,), "how many items the gallery has (a count)", None),
    )
}


def metrics_of(kind: str, conventions: str = "none", labels: Sequence[str] = ()) -> dict[str, Metric]:
    """The metrics of a kind of task by the names they have there, in the order tables show them; without `loss`.

    Args:
        kind: of the task.
        conventions: the task's key.
        labels: of the task: metrics per label are named after them.
    """
    found: dict[str, Metric] = {}
    for name, metric in METRICS.items():
        added = not metric.conventions or conventions in metric.conventions
        if name == "loss" or kind not in metric.kinds or not added or len(labels) < metric.least_labels:
            continue
        found |= {name.replace(LABEL, label): metric for label in labels} if LABEL in name else {name: metric}
    return found
