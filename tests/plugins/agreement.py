"""A metric: Cohen's kappa of a classification."""

from typing import Any, ClassVar

import numpy as np

from adaptkit.tasks import Metric, MetricSet
from adaptkit.tasks.metric import METRICS


@METRICS.register("agreement")
class Agreement(MetricSet):
    """Agreement beyond chance (Cohen 1960)."""

    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("kappa", "agreement beyond chance"),)

    def compute(self, scores: np.ndarray, targets: np.ndarray, task: Any) -> tuple[dict[str, float | None], list[str]]:
        from sklearn.metrics import cohen_kappa_score

        if len(np.unique([*targets, *scores.argmax(1)])) < 2:
            return {"kappa": None}, ["kappa is undefined: all labels are the same"]
        return {"kappa": float(cohen_kappa_score(targets, scores.argmax(1)))}, []
