"""The metrics of one or several numbers."""

from __future__ import annotations

import numpy as np

from adaptkit.tasks.metric import Metric, Values

# N samples, O outputs

METRICS = (
    Metric("mae", "mean absolute error", False),
    Metric("mse", "mean squared error", False),
    Metric("rmse", "root of the mean squared error", False),
    Metric("r2", "coefficient of determination, mean over outputs"),
    Metric("pearson", "Pearson correlation, mean over outputs"),
    Metric("spearman", "Spearman rank correlation, mean over outputs"),
)


def regression(scores: np.ndarray, targets: np.ndarray) -> tuple[Values, list[str]]:
    """Every metric of (N, O) values and (N, O) true ones."""
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
    values["pearson"] = _mean_correlation(targets, scores)
    values["spearman"] = _mean_correlation(*ranks)
    return values, notes


def _mean_correlation(targets: np.ndarray, scores: np.ndarray) -> float:
    return float(np.mean([np.corrcoef(t, s)[0, 1] for t, s in zip(targets.T, scores.T, strict=True)]))


def _ranks(values: np.ndarray) -> np.ndarray:
    """(N,) ranks, ties averaged."""
    from scipy.stats import rankdata

    return rankdata(values)
