"""Expected calibration error, Brier score and log-likelihood by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.tasks.classification.metrics import calibration


def test_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.88, 0.12], [0.3, 0.7], [0.6, 0.4]])
    found = calibration(probabilities, np.array([0, 1, 1, 0]))
    # bins of 1/15: .9 and .88 in (13/15, 14/15], one of two right; .7 in (10/15, 11/15]; .6 in (8/15, 9/15]
    assert found["ece"] == pytest.approx((2 * abs(0.5 - 0.89) + abs(1 - 0.7) + abs(1 - 0.6)) / 4)
    assert found["brier"] == pytest.approx((2 * 0.1**2 + 2 * 0.88**2 + 2 * 0.3**2 + 2 * 0.4**2) / 4)
    assert found["nll"] == pytest.approx(-(math.log(0.9) + math.log(0.12) + math.log(0.7) + math.log(0.6)) / 4)


def test_the_upper_edge_belongs_to_a_bin() -> None:
    """3/15 and 3.1/15 are in different bins: what is wrong there with opposite signs does not cancel."""
    at, above = 9 / 15, 9.1 / 15
    found = calibration(np.array([[at, 1 - at], [above, 1 - above]]), np.array([0, 1]))
    assert found["ece"] == pytest.approx(((1 - at) + above) / 2)


@pytest.mark.parametrize("right", [True, False])
def test_one_sample_that_is_certain(right: bool) -> None:
    found = calibration(np.array([[1.0, 0.0, 0.0]]), np.array([0 if right else 2]))
    assert (found["ece"], found["brier"]) == ((0, 0) if right else (1, 2))
    assert found["nll"] == pytest.approx(0 if right else -math.log(np.finfo(np.float64).eps), abs=1e-12)


@given(st.integers(0, 10_000), st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_equals_the_formulas_written_out(seed: int, labels: int) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.normal(0, 2, (30, labels)).astype(np.float32)
    probabilities = np.exp(raw) / np.exp(raw).sum(1, keepdims=True)  # sums to 1 as float32 does
    targets = rng.integers(0, labels, 30)
    found = calibration(probabilities.astype(np.float64), targets)
    error = 0.0
    for low in range(15):
        inside = [i for i in range(30) if low / 15 < probabilities[i].max() <= (low + 1) / 15]
        if inside:
            accuracy = np.mean([probabilities[i].argmax() == targets[i] for i in inside])
            error += len(inside) / 30 * abs(accuracy - np.mean([probabilities[i].max() for i in inside]))
    assert found["ece"] == pytest.approx(error, abs=1e-6)
    assert found["brier"] == pytest.approx(((probabilities - np.eye(labels)[targets]) ** 2).sum() / 30, abs=1e-6)
    assert found["nll"] == pytest.approx(-np.log(probabilities[np.arange(30), targets]).mean(), abs=1e-5)
