"""How far the probabilities of a classification can be trusted."""

from __future__ import annotations

import numpy as np

BINS = 15

# N samples, C labels


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
