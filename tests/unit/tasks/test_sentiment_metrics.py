"""The conventions of CMU-MOSI and CH-SIMS: by hand, and against the published formulas written out again."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.benchmarks.sentiment_metrics import mosi, sims
from tests.unit.tasks.measuring import compute, metrics_of

#              right   zero     zero, <0  right   wrong   half    clipped
PREDICTED = np.array([1.2, 0.0, -0.4, -2.5, 0.3, 0.5, 4.0])
TRUE = np.array([1.0, 0.0, 0.0, -2.0, -1.0, 0.0, 3.0])


def test_acc2_in_its_three_definitions() -> None:
    values, notes = mosi(PREDICTED, TRUE)
    # p >= 0: + + - - + + +; y >= 0: + + + - - + +
    assert values["acc2_has0"] == pytest.approx(5 / 7)
    # without the three zeros, p > 0: + - + +; y > 0: + - - +
    assert values["acc2_non0"] == pytest.approx(3 / 4)
    # p > 0: + - - - + + +; y > 0: + - - - - - +
    assert values["acc2_gt0_all"] == pytest.approx(5 / 7)
    assert notes == []


def test_f1_is_weighted_by_what_is_true_and_swapped_by_what_is_predicted() -> None:
    values, _ = mosi(PREDICTED, TRUE)
    # has0: F1 of + is 2*4/(2*4+1+1) = 4/5 (5 true), of - is 2*1/(2+1+1) = 1/2 (2 true)
    assert values["f1_has0"] == pytest.approx((5 * 4 / 5 + 2 * 1 / 2) / 7)
    # non0: + is 2*2/(2*2+1) = 4/5 (2 true, 3 predicted), - is 2*1/(2+1) = 2/3 (2 true, 1 predicted)
    assert values["f1_non0"] == pytest.approx((2 * 4 / 5 + 2 * 2 / 3) / 4)
    assert values["f1_non0_swapped"] == pytest.approx((3 * 4 / 5 + 1 * 2 / 3) / 4)
    # gt0_all: + is 2*2/(2*2+2) = 2/3 (2 true, 4 predicted), - is 2*3/(2*3+2) = 3/4 (5 true, 3 predicted)
    assert values["f1_gt0_all"] == pytest.approx((2 * 2 / 3 + 5 * 3 / 4) / 7)
    assert values["f1_gt0_all_swapped"] == pytest.approx((4 * 2 / 3 + 3 * 3 / 4) / 7)


def test_whole_numbers_round_halves_to_even() -> None:
    values, _ = mosi(PREDICTED, TRUE)
    # clipped to 3 and rounded: 1 0 -0 -2 0 0 3 for 1 0 0 -2 -1 0 3: -2.5 is -2 and 0.5 is 0
    assert values["acc7"] == pytest.approx(6 / 7)
    assert values["acc5"] == pytest.approx(6 / 7)
    assert values["acc3"] == pytest.approx(6 / 7)
    halves, _ = mosi(np.array([1.5, 2.5, -1.5]), np.array([2.0, 3.0, -1.0]))
    assert halves["acc7"] == pytest.approx(1 / 3)  # 2, 2, -2
    assert halves["acc5"] == pytest.approx(2 / 3)  # the second: 2 and 2


def test_a_whole_task() -> None:
    values, notes = compute("regression", PREDICTED[:, None], TRUE[:, None], conventions="mosi")
    assert list(values) == list(metrics_of("regression", "mosi"))
    assert values["corr"] == values["pearson"] == pytest.approx(np.corrcoef(PREDICTED, TRUE)[0, 1])
    assert values["mae"] == pytest.approx(np.mean([0.2, 0, 0.4, 0.5, 1.3, 0.5, 1.0]))
    assert notes == []


def test_constant_predictions_have_no_correlation_and_are_told() -> None:
    values, notes = compute("regression", np.zeros((4, 1)), np.array([[1.0], [0], [-1], [2]]), conventions="mosi")
    assert values["corr"] is None
    assert values["acc2_has0"] == pytest.approx(3 / 4)
    assert values["acc2_non0"] == pytest.approx(1 / 3)
    assert "pearson and spearman are undefined: the predictions are constant" in notes
    assert "acc2_non0 and f1_non0: every prediction is on the same side of 0" in notes


def test_only_neutral_targets_leave_non0_undefined() -> None:
    values, notes = mosi(np.array([0.2, -0.2]), np.zeros(2))
    assert values["acc2_non0"] is values["f1_non0"] is values["f1_non0_swapped"] is None
    assert values["acc2_has0"] == values["acc2_gt0_all"] == 1 / 2
    assert notes == ["acc2_non0 and f1_non0 are undefined: every target is 0"]


@pytest.mark.parametrize("conventions", ["mosi", "sims"])
def test_one_sample(conventions: str) -> None:
    values, notes = compute("regression", np.array([[0.5]]), np.array([[1.0]]), conventions=conventions)
    undefined = {name for name, value in values.items() if value is None}
    assert undefined == {"r2", "pearson", "spearman", {"mosi": "corr", "sims": "corr_sims"}[conventions]}
    assert values["mae"] == 0.5
    assert values[{"mosi": "acc2_non0", "sims": "acc2_sims"}[conventions]] == 1
    assert notes


def test_sims_by_hand() -> None:
    p = np.array([-1.4, 0.0, 0.05, 0.6, 0.71, -0.1])
    y = np.array([-1.0, 0.2, 0.00, 0.8, 0.70, -0.2])
    values, notes = sims(p, y)
    # above 0: - - + + + -; - + - + + -
    assert values["acc2_sims"] == pytest.approx(4 / 6)
    # bins of 3: 0 1 1 2 2 0 (-0.1 is still in the first); 0 2 1 2 2 0
    assert values["acc3_sims"] == pytest.approx(5 / 6)
    # bins of 5: 0 2 2 3 4 1; 0 3 2 4 3 1
    assert values["acc5_sims"] == pytest.approx(3 / 6)
    # F1 of + is 2*2/(2*2+1+1) = 2/3 and of - likewise
    assert values["f1_sims"] == pytest.approx(2 / 3)
    assert values["mae_sims"] == pytest.approx((0 + 0.2 + 0.05 + 0.2 + 0.01 + 0.1) / 6, abs=1e-7)
    assert values["corr_sims"] == pytest.approx(np.corrcoef(p.clip(-1, 1), y)[0, 1], abs=1e-6)
    assert notes == []


def test_labels_on_an_edge_are_below_it_as_they_are_stored() -> None:
    edges = np.array([-1.0, -0.7, -0.1, 0.0, 0.1, 0.7, 1.0], dtype=np.float32)
    inside = np.array([-0.9, -0.8, -0.5, 0.05, 0.05, 0.5, 0.9], dtype=np.float32)
    assert sims(inside, edges)[0]["acc5_sims"] == 1


def test_sims_of_what_is_constant_after_clipping() -> None:
    values, notes = sims(np.array([1.5, 2.0, 1.0]), np.array([0.2, 0.4, -1.0]))
    assert values["corr_sims"] is None
    assert notes == ["corr_sims is undefined: the predictions are constant in [-1, 1]"]


def weighted_f1(true: list[int], predicted: list[int]) -> float:
    """Sum over the classes of their share among `true` times 2*TP / (2*TP + FP + FN)."""
    total = 0.0
    for one in set(true):
        tp = sum(t == p == one for t, p in zip(true, predicted, strict=True))
        wrong = sum((t == one) != (p == one) for t, p in zip(true, predicted, strict=True))
        total += true.count(one) / len(true) * 2 * tp / (2 * tp + wrong)
    return total


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_both_equal_the_formulas_written_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.integers(-6, 7, 40) / 2
    p = y + rng.normal(0, 1, 40)
    pairs = list(zip(p.tolist(), y.tolist(), strict=True))
    values, _ = mosi(p, y)
    assert values["acc2_has0"] == pytest.approx(sum((a >= 0) == (b >= 0) for a, b in pairs) / 40)
    signed = [(int(a > 0), int(b > 0)) for a, b in pairs if b != 0]
    assert values["acc2_non0"] == pytest.approx(sum(a == b for a, b in signed) / len(signed))
    assert values["f1_non0"] == pytest.approx(weighted_f1([b for _, b in signed], [a for a, _ in signed]))
    assert values["f1_non0_swapped"] == pytest.approx(weighted_f1([a for a, _ in signed], [b for _, b in signed]))
    for name, most in (("acc3", 1), ("acc5", 2), ("acc7", 3)):
        same = [round(min(max(a, -most), most)) == round(min(max(b, -most), most)) for a, b in pairs]  # half to even
        assert values[name] == pytest.approx(sum(same) / 40)

    def place(value: float, edges: tuple[float, ...]) -> int:
        return sum(np.float32(value) > np.float32(edge) for edge in edges)

    p, y = p / 3, np.round(y * 2) / 10
    pairs = list(zip(p.tolist(), y.tolist(), strict=True))
    values, _ = sims(p, y)
    for name, edges in (("acc2_sims", (0,)), ("acc3_sims", (-0.1, 0.1)), ("acc5_sims", (-0.7, -0.1, 0.1, 0.7))):
        assert values[name] == pytest.approx(sum(place(a, edges) == place(b, edges) for a, b in pairs) / 40)
    assert values["f1_sims"] == pytest.approx(
        weighted_f1([place(b, (0,)) for _, b in pairs], [place(a, (0,)) for a, _ in pairs])
    )
    assert values["mae_sims"] == pytest.approx(math.fsum(abs(min(max(a, -1), 1) - b) for a, b in pairs) / 40, abs=1e-6)
