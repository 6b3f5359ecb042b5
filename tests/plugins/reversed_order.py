"""A sampler: the order of the data, backwards in every second epoch."""

import numpy as np

from adaptkit.kinds import SAMPLERS


@SAMPLERS.register("reversed_order")
def reversed_order(samples: int, seed: int, epoch: int, *, start: int = 0) -> np.ndarray:
    """Forwards, then backwards, and so on.

    Args:
        start: epoch that goes forwards.
    """
    order = np.arange(samples)
    return order if (epoch - start) % 2 == 0 else order[::-1]
