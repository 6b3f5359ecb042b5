"""The order of an epoch's samples: a function of (seed, epoch), which a resumed run repeats."""

from __future__ import annotations

import numpy as np


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """(n,) permutation of 0..n-1, the same on every machine, different for every epoch and seed."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(n)
