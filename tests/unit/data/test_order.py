"""The order of an epoch is a function of seed and epoch."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.data import epoch_order


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 2**32), st.integers(0, 1000))
def test_it_is_a_permutation_and_repeats(n: int, seed: int, epoch: int) -> None:
    order = epoch_order(n, seed, epoch)
    assert sorted(order.tolist()) == list(range(n))
    assert np.array_equal(order, epoch_order(n, seed, epoch))


def test_epochs_and_seeds_differ() -> None:
    orders = [epoch_order(50, seed, epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9


def test_it_does_not_touch_the_global_generator() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()  # type: ignore[index]
    epoch_order(10, 0, 0)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]
