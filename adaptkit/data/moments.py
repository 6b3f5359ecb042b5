"""Mean and spread of every channel of vectors that come batch by batch."""

from __future__ import annotations

import numpy as np

# n vectors of a batch, W channels

ROUNDING, SMALLEST = float(np.finfo(np.float32).eps), float(np.finfo(np.float32).tiny)


class Moments:
    """Count, mean and variance in float64, updated by batches (Chan, Golub & LeVeque 1979): memory for W numbers each.

    Args:
        width: W.

    Attributes:
        count: (W,) how many values every channel has.
        mean: (W,) of them; 0 where there is none.
    """

    def __init__(self, width: int) -> None:
        self.count, self.mean = np.zeros(width), np.zeros(width)
        self._squares, self._largest = np.zeros(width), np.zeros(width)  # sum of (x - mean)^2, and max |x|

    def add(self, vectors: np.ndarray) -> None:
        """(n, W) float32; NaN where a value is missing."""
        there = ~np.isnan(vectors)
        values = np.where(there, vectors, 0.0).astype(np.float64)
        added, count = there.sum(0), self.count + there.sum(0)
        mean = values.sum(0) / np.maximum(added, 1)
        squares = (np.where(there, values - mean, 0.0) ** 2).sum(0)
        step, share = mean - self.mean, added / np.maximum(count, 1)
        self._squares += squares + step**2 * self.count * share
        self.mean += step * share
        self.count = count
        self._largest = np.maximum(self._largest, np.abs(values).max(0, initial=0.0))

    @property
    def scale(self) -> np.ndarray:
        """(W,) standard deviation; 1 of a channel that is constant, up to the rounding of float32."""
        deviation, varies = self._deviation()
        return np.where(varies, deviation, 1.0)

    @property
    def unlike(self) -> float:
        """The largest standard deviation of a channel over the median of those that vary; 1 where none does."""
        deviation, varies = self._deviation()
        return float(deviation[varies].max() / np.median(deviation[varies])) if varies.any() else 1.0

    def _deviation(self) -> tuple[np.ndarray, np.ndarray]:
        """(W,) standard deviation, and (W,) bool, whether it is more than the rounding of float32."""
        deviation = np.sqrt(self._squares / np.maximum(self.count, 1))
        return deviation, deviation > np.maximum(ROUNDING * self._largest, SMALLEST)

    @property
    def varying(self) -> float:
        """Share of the energy that varies: the sum of the variances over that of the mean squares; 1 of nothing."""
        variance = (self._squares / np.maximum(self.count, 1)).sum()
        energy = variance + (self.mean**2).sum()
        return float(variance / energy) if energy > 0 else 1.0
