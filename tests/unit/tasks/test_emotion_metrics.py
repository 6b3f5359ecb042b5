"""Labels as yes/no problems of their own: IEMOCAP and the emotions of CMU-MOSEI."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.tasks.measuring import compute, metrics_of

LABELS = ("happy", "sad")
TARGETS = np.array([[1, 0], [0, 0], [0, 1], [0, 1]])
SCORES = np.array([[0.9, 0.1], [0.7, 0.2], [0.2, 0.8], [0.1, 0.4]])  # happy: 1 1 0 0, sad: 0 0 1 0


def test_iemocap_by_hand() -> None:
    values, notes = compute("multilabel", SCORES, TARGETS, conventions="iemocap", labels=LABELS)
    assert list(values) == list(metrics_of("multilabel", "iemocap", LABELS))
    assert values["accuracy_happy"] == values["accuracy_sad"] == values["mean_accuracy"] == 3 / 4
    # happy: yes 2*1/(2+1) = 2/3 (1 true), no 2*2/(4+1) = 4/5 (3 true); sad: yes 2/3 and no 4/5 (2 true each)
    assert values["f1_weighted_happy"] == pytest.approx((1 * 2 / 3 + 3 * 4 / 5) / 4)
    assert values["f1_weighted_sad"] == pytest.approx((2 * 2 / 3 + 2 * 4 / 5) / 4)
    assert values["mean_f1_weighted"] == pytest.approx((values["f1_weighted_happy"] + values["f1_weighted_sad"]) / 2)
    assert notes == ["ap_samples leaves out 1 of 4 samples: they have no labels"]


def test_weighted_accuracy_by_mults_formula() -> None:
    values, _ = compute("multilabel", SCORES, TARGETS, conventions="mosei_emotions", labels=LABELS)

    def formula(tp: int, tn: int, p: int, n: int) -> float:
        return (tp * n / p + tn) / (2 * n)

    assert values["weighted_accuracy_happy"] == pytest.approx(formula(1, 2, 1, 3))
    assert values["weighted_accuracy_sad"] == pytest.approx(formula(1, 2, 2, 2))
    assert values["mean_weighted_accuracy"] == pytest.approx((formula(1, 2, 1, 3) + formula(1, 2, 2, 2)) / 2)
    assert "accuracy_happy" not in values


def test_the_threshold_is_that_of_the_task() -> None:
    values, _ = compute("multilabel", SCORES, TARGETS, threshold=0.3, conventions="iemocap", labels=LABELS)
    assert (values["accuracy_happy"], values["accuracy_sad"]) == (3 / 4, 1)


@pytest.mark.parametrize("conventions", ["iemocap", "mosei_emotions"])
def test_a_label_without_positives_is_none_and_out_of_the_means(conventions: str) -> None:
    targets = TARGETS * [1, 0]
    values, notes = compute("multilabel", SCORES, targets, conventions=conventions, labels=LABELS)
    assert {name for name, value in values.items() if value is None} == {
        name for name in metrics_of("multilabel", conventions, LABELS) if name.endswith("_sad")
    }
    assert values["mean_f1_weighted"] == values["f1_weighted_happy"]
    assert "the metrics of 'sad' are undefined: no sample has it" in notes


def test_a_label_that_all_have_and_one_that_is_never_predicted() -> None:
    targets, scores = np.array([[1, 1], [1, 0]]), np.array([[0.9, 0.1], [0.2, 0.2]])
    values, notes = compute("multilabel", scores, targets, conventions="mosei_emotions", labels=LABELS)
    assert values["weighted_accuracy_happy"] is None
    assert values["weighted_accuracy_sad"] == values["mean_weighted_accuracy"] == 1 / 2
    assert values["f1_weighted_happy"] == pytest.approx(2 / 3)
    assert "every sample has 'happy', which leaves its weighted accuracy undefined" in notes
    assert "'sad' is never predicted" in notes


def test_one_sample_and_one_label() -> None:
    values, _ = compute("multilabel", np.array([[0.9]]), np.array([[1]]), conventions="iemocap", labels=("happy",))
    assert values["accuracy_happy"] == values["mean_accuracy"] == values["f1_weighted_happy"] == 1
    values, notes = compute("multilabel", np.array([[0.9]]), np.array([[0]]), conventions="iemocap", labels=("happy",))
    assert values["accuracy_happy"] is values["mean_accuracy"] is None
    assert "the metrics of 'happy' are undefined: no sample has it" in notes
