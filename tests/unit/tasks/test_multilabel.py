"""Multilabel: targets, the two conventions of pos_weight, thresholds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from adaptkit.errors import DataError, RecipeError
from adaptkit.tasks import Task
from adaptkit.tasks.multilabel.table import Multilabel

TARGETS = [["drama", "crime"], ["drama"], [], ["comedy", "drama"]]  # comedy 1, crime 1, drama 3 of 4


def build(targets: list[Any] | None = TARGETS, **keys: Any) -> Task:
    return Task.build(Multilabel(kind="multilabel", **keys), "genres", targets)


def test_targets_become_zeros_and_ones() -> None:
    task = build()
    assert task.labels == ("comedy", "crime", "drama")
    assert task.encode(TARGETS, list("abcd")).tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 0, 1]]


@pytest.mark.parametrize(
    ("rule", "weight"),
    [
        ("none", None),
        ("n_over_freq", [4, 4, 4 / 3]),
        ("neg_over_pos", [3, 3, 1 / 3]),
        ([1.0, 2.0, 3.0], [1, 2, 3]),
    ],
)
def test_pos_weight(rule: Any, weight: list[float] | None) -> None:
    task = build(pos_weight=rule)
    logits, targets = torch.randn(4, 3), task.encode(TARGETS, list("abcd"))
    expected = F.binary_cross_entropy_with_logits(
        logits, targets, pos_weight=None if weight is None else torch.tensor(weight, dtype=torch.float32)
    )
    torch.testing.assert_close(task.loss(logits, targets), expected)


def test_a_label_named_twice_in_one_sample_counts_once() -> None:
    twice = build([["a", "a"], ["b"]], pos_weight="n_over_freq")
    assert twice.pos_weight == [2.0, 2.0]  # type: ignore[attr-defined]


def test_decoding_uses_the_threshold() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0]])
    assert build().decode(logits)[0]["labels"] == ["comedy", "crime"]
    assert build(threshold=0.6).decode(logits)[0]["labels"] == ["crime"]
    assert build(threshold=0.6).threshold == 0.6
    assert build().decode(logits)[0]["probabilities"]["comedy"] == 0.5


def test_monitors() -> None:
    assert build().monitor == "ap_micro"
    assert build(monitor="f1_samples").monitor == "f1_samples"
    with pytest.raises(RecipeError, match="'n_classes_evaluated' is no metric"):
        build(monitor="n_classes_evaluated")  # a count: there is nothing to maximise


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(DataError, match="sample b  the labels 'drama' are not a list"):
        build().encode([["drama"], "drama"], ["sample a", "sample b"])
    with pytest.raises(DataError, match=r"the label 'drma' .*Did you mean \"drama\""):
        build().encode([["drma"]], ["sample a"])
    weights = build(labels=["comedy", "crime", "drama", "western"], pos_weight="n_over_freq").pos_weight
    assert weights is not None
    assert weights[3] == 1  # of what no sample has nothing is learnt
    with pytest.raises(RecipeError, match="1 weights for 3 labels"):
        build(pos_weight=[1.0])
    with pytest.raises(DataError, match="has 0 labels"):
        build([[], []])


def test_conventions_add_metrics_per_label() -> None:
    task = build(conventions="iemocap", monitor="f1_weighted_drama")
    assert task.higher_is_better("f1_weighted_drama")
    with pytest.raises(RecipeError, match=r"'f1_weighted_drma' is no metric .*\"f1_weighted_drama\""):
        build(conventions="iemocap", monitor="f1_weighted_drma")
