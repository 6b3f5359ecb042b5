"""The metrics there are, by name: data only. `adaptkit.evaluation.metrics` computes them."""

from __future__ import annotations

from dataclasses import dataclass

CLASSIFICATION, MULTILABEL, REGRESSION = "classification", "multilabel", "regression"


@dataclass(frozen=True, slots=True)
class Metric:
    """One named convention.

    Attributes:
        name: as in recipes, tables and JSON.
        kinds: the kinds of task that have it.
        description: one line, with the convention where several are in use.
        higher_is_better: the direction of `monitor`; None for a count that cannot be monitored.
    """

    name: str
    kinds: tuple[str, ...]
    description: str
    higher_is_better: bool | None = True


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("loss", (CLASSIFICATION, MULTILABEL, REGRESSION), "the training loss, mean over samples", False),
        Metric("accuracy", (CLASSIFICATION,), "share of samples whose label is predicted"),
        Metric("balanced_accuracy", (CLASSIFICATION,), "mean recall of the labels that occur"),
        Metric("ap_micro", (MULTILABEL,), "average precision over all sample-label pairs at once"),
        Metric("ap_macro", (MULTILABEL,), "average precision per label, mean over the labels with positives"),
        Metric("ap_samples", (MULTILABEL,), "average precision per sample, mean over the samples with labels"),
        Metric("f1_micro", (CLASSIFICATION, MULTILABEL), "F1 over all decisions at once"),
        Metric("f1_macro", (CLASSIFICATION, MULTILABEL), "F1 per label, mean over labels (0/0 counts as 0)"),
        Metric("f1_weighted", (CLASSIFICATION, MULTILABEL), "F1 per label, weighted by how often it is true"),
        Metric("f1_samples", (MULTILABEL,), "F1 per sample, mean over samples (nothing true or predicted: 0)"),
        Metric("n_classes_evaluated", (MULTILABEL,), "how many labels have positives (a count)", None),
        Metric("mae", (REGRESSION,), "mean absolute error", False),
        Metric("mse", (REGRESSION,), "mean squared error", False),
        Metric("rmse", (REGRESSION,), "root of the mean squared error", False),
        Metric("r2", (REGRESSION,), "coefficient of determination, mean over outputs"),
        Metric("pearson", (REGRESSION,), "Pearson correlation, mean over outputs"),
        Metric("spearman", (REGRESSION,), "Spearman rank correlation, mean over outputs"),
    )
}


def metrics_of(kind: str) -> tuple[str, ...]:
    """The names of the metrics of a kind of task, in the order tables show them; without `loss`."""
    return tuple(name for name, metric in METRICS.items() if kind in metric.kinds and name != "loss")
