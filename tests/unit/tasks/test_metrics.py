"""Metrics against values worked out by hand, against scikit-learn, and where they are undefined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.tasks.measuring import compute, metrics_of


def test_classification_by_hand() -> None:
    scores = np.eye(3)[[0, 0, 1, 1, 2, 0]]  # predicted
    targets = np.array([0, 0, 0, 1, 2, 2])
    values, notes = compute("classification", scores, targets)
    # recalls 2/3, 1, 1/2; F1: 0 -> 2*2/(2*2+1+1) = 2/3, 1 -> 2/(2+1) = 2/3, 2 -> 2/(2+1) = 2/3
    assert values == pytest.approx(
        {
            "accuracy": 4 / 6,
            "balanced_accuracy": (2 / 3 + 1 + 1 / 2) / 3,
            "f1_micro": 4 / 6,
            "f1_macro": 2 / 3,
            "f1_weighted": 2 / 3,
            "ece": 2 / 6,  # sure of everything, right in four of six
            "brier": 2 * 2 / 6,  # two samples with 1 + 1
            "nll": 2 / 6 * -np.log(np.finfo(float).eps),
        },
        rel=1e-9,
    )
    assert notes == []


def test_one_decision_for_all_is_told() -> None:
    values, notes = compute("classification", np.array([[0.2, 0.8]] * 3), np.array([0, 1, 1]), labels=("no", "yes"))
    assert notes == ["every sample is predicted as 'yes'"]
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert values["balanced_accuracy"] == pytest.approx(1 / 2)


def test_the_same_probabilities_for_all_are_told() -> None:
    values, notes = compute("multilabel", np.array([[0.6, 0.3]] * 4), np.array([[1, 0], [0, 1], [0, 0], [0, 1]]))
    assert "every sample has the same probabilities" in notes
    assert values["ap_macro"] == pytest.approx((1 / 4 + 2 / 4) / 2)  # what guessing gives


def test_one_sample() -> None:
    values, notes = compute("classification", np.array([[0.25, 0.75]]), np.array([1]))
    assert (values["accuracy"], values["f1_macro"], notes) == (1, 1, [])
    assert values["nll"] == pytest.approx(-np.log(0.75))


def test_top5_is_there_with_more_than_five_labels() -> None:
    scores = np.array([[0.3, 0.25, 0.2, 0.1, 0.09, 0.06]] * 3)
    assert compute("classification", scores, np.array([0, 4, 5]))[0]["accuracy_top5"] == pytest.approx(2 / 3)
    assert "accuracy_top5" not in compute("classification", np.eye(5), np.arange(5))[0]


def test_labels_that_f1_macro_counts_as_0_are_told() -> None:
    values, notes = compute("multilabel", np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([[1, 0], [1, 0]]))
    assert values["f1_macro"] == pytest.approx(1 / 2)
    assert "f1_macro counts 1 of 2 labels as 0: neither true nor predicted" in notes


def test_balanced_accuracy_leaves_out_labels_that_do_not_occur() -> None:
    values, _ = compute("classification", np.eye(3)[[0, 2, 1]], np.array([0, 0, 1]))
    assert values["balanced_accuracy"] == pytest.approx((1 / 2 + 1) / 2)


def test_multilabel_by_hand() -> None:
    targets = np.array([[1, 0], [1, 1], [0, 0]])
    scores = np.array([[0.9, 0.6], [0.4, 0.8], [0.2, 0.1]])
    values, notes = compute("multilabel", scores, targets)
    # pairs by score: .9+ .8+ .6- .4+ -> AP micro = (1 + 1 + 3/4) / 3
    assert values["ap_micro"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert values["ap_macro"] == pytest.approx(1)  # both labels rank their positives first
    assert values["ap_samples"] == pytest.approx(1)  # of the two samples with labels
    # decisions at 0.5: [1, 1], [0, 1], [0, 0]; TP 2, FP 1, FN 1
    assert values["f1_micro"] == pytest.approx(4 / 6)
    assert values["f1_macro"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert values["f1_weighted"] == pytest.approx(2 / 3)
    assert values["f1_samples"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)  # nothing true, nothing predicted: 0
    assert values["n_classes_evaluated"] == 2
    assert notes == ["ap_samples leaves out 1 of 3 samples: they have no labels"]


def test_the_threshold_is_that_of_the_task() -> None:
    targets, scores = np.array([[1, 0], [1, 1]]), np.array([[0.4, 0.1], [0.4, 0.35]])
    assert compute("multilabel", scores, targets)[0]["f1_micro"] == 0
    assert compute("multilabel", scores, targets, threshold=0.3)[0]["f1_micro"] == 1


def test_a_label_without_positives_does_not_drag_the_mean_down() -> None:
    targets, scores = np.array([[1, 0], [0, 0]]), np.array([[0.9, 0.5], [0.1, 0.4]])
    values, notes = compute("multilabel", scores, targets)
    assert values["ap_macro"] == 1
    assert values["n_classes_evaluated"] == 1
    assert "ap_macro leaves out 1 of 2 labels: they have no positives" in notes


@given(st.integers(0, 10_000), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_multilabel_equals_scikit_learn_where_that_is_defined(seed: int, labels: int) -> None:
    from sklearn.metrics import average_precision_score, f1_score

    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, (12, labels))
    targets[0], targets[:, 0] = 1, 1  # every label and every sample has a positive
    scores = rng.random((12, labels))
    values, notes = compute("multilabel", scores, targets)
    assert notes == []
    for average in ("micro", "macro", "samples"):
        if labels > 1:
            expected = average_precision_score(targets, scores, average=average)
            assert values[f"ap_{average}"] == pytest.approx(expected)
    predicted = scores >= 0.5
    for average in ("micro", "macro", "weighted", "samples"):
        if labels > 1:
            expected = f1_score(targets, predicted, average=average, zero_division=0)
            assert values[f"f1_{average}"] == pytest.approx(expected)
    if labels == 1:  # scikit-learn calls this binary
        assert values["f1_macro"] == pytest.approx(f1_score(targets[:, 0], predicted[:, 0], zero_division=0))
        assert values["f1_samples"] == pytest.approx(predicted[:, 0].mean())


def test_regression_by_hand() -> None:
    values, notes = compute("regression", np.array([[1.0], [2.0], [5.0]]), np.array([[1.0], [3.0], [4.0]]))
    assert values["mae"] == pytest.approx(2 / 3)
    assert values["mse"] == pytest.approx(2 / 3)
    assert values["rmse"] == pytest.approx((2 / 3) ** 0.5)
    assert values["r2"] == pytest.approx(1 - 2 / (14 / 3))
    assert values["pearson"] == pytest.approx(np.corrcoef([1, 2, 5], [1, 3, 4])[0, 1])
    assert values["spearman"] == pytest.approx(1)
    assert notes == []


@given(st.integers(0, 10_000), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_regression_equals_scipy_and_scikit_learn(seed: int, outputs: int) -> None:
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(seed)
    scores, targets = rng.integers(0, 6, (10, outputs)) + 0.0, rng.integers(0, 6, (10, outputs)) + 0.0
    scores[0], targets[0], scores[1], targets[1] = 0, 0, 5, 5  # not constant; ties remain
    values, _ = compute("regression", scores, targets)
    columns = list(zip(scores.T, targets.T, strict=True))
    assert values["pearson"] == pytest.approx(np.mean([pearsonr(s, t).statistic for s, t in columns]))
    assert values["spearman"] == pytest.approx(np.mean([spearmanr(s, t).statistic for s, t in columns]))
    assert values["r2"] == pytest.approx(r2_score(targets, scores))


UNDEFINED: list[tuple[str, Any, Any, set[str], str]] = [
    ("regression", [[1.0], [1.0]], [[1.0], [2.0]], {"pearson", "spearman"}, "the predictions are constant"),
    ("regression", [[1.0], [2.0]], [[1.0], [1.0]], {"r2", "pearson", "spearman"}, "the targets are constant"),
    ("regression", [[1.0]], [[2.0]], {"r2", "pearson", "spearman"}, "the targets are constant"),
    ("multilabel", [[0.1, 0.2]], [[0, 0]], {"ap_micro", "ap_macro", "ap_samples"}, "no sample has a label"),
]


@pytest.mark.parametrize(("kind", "scores", "targets", "undefined", "note"), UNDEFINED)
def test_what_is_undefined_is_none_with_a_warning(
    kind: str, scores: Any, targets: Any, undefined: set[str], note: str
) -> None:
    values, notes = compute(kind, np.array(scores), np.array(targets))
    assert {name for name, value in values.items() if value is None} == undefined
    assert any(note in line for line in notes)


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "retrieval"])
def test_no_samples_and_outputs_that_are_not_finite_define_nothing(kind: str) -> None:
    targets = np.array([0, 1]) if kind in ("classification", "retrieval") else np.array([[0, 1], [1, 0]])
    for scores, wanted in ((np.zeros((0, 2)), targets[:0]), (np.full((2, 2), np.nan), targets)):
        values, notes = compute(kind, scores, wanted)
        assert list(values) == list(metrics_of(kind))
        assert set(values.values()) == {None}
        assert notes
