"""Classification: labels, class weights, loss, decoding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from adaptkit.errors import DataError, RecipeError
from adaptkit.tasks import Task
from adaptkit.tasks.classification.table import Classification

TARGETS = ["no", "yes", "no", "no", "maybe"]


def build(targets: list[Any] | None = TARGETS, **keys: Any) -> Task:
    return Task.build(Classification(kind="classification", **keys), "answer", targets)


def test_labels_are_those_of_the_training_split_sorted_or_the_recipes_in_its_order() -> None:
    assert build().labels == ("maybe", "no", "yes")
    assert build(labels=["yes", "no", "maybe"]).labels == ("yes", "no", "maybe")
    assert build([10, 9, 2]).labels == ("2", "9", "10")
    assert build([True, False]).labels == ("false", "true")
    assert build().outputs == 3


def test_targets_become_places_in_the_list() -> None:
    assert build().encode(["yes", "maybe"], ["a", "b"]).tolist() == [2, 0]
    assert build([10, 9, 2]).encode([9, "10"], ["a", "b"]).tolist() == [1, 2]


def test_a_label_outside_the_list_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(DataError, match=r"sample b  the label 'yess' is not one of .*Did you mean \"yes\""):
        build().encode(["yes", "yess"], ["sample a", "sample b"])
    with pytest.raises(DataError, match=r"the label 1\.5 is of type float"):
        build().encode([1.5], ["sample a"])


def test_loss_is_cross_entropy_with_scikit_learns_balanced_weights_and_smoothing() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    logits, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 1])
    balanced = compute_class_weight("balanced", classes=np.array(["maybe", "no", "yes"]), y=np.array(TARGETS))
    for keys, weight, smoothing in (
        ({}, None, 0.0),
        ({"class_weight": "balanced"}, torch.from_numpy(balanced).float(), 0.0),
        ({"class_weight": [1.0, 2.0, 3.0], "label_smoothing": 0.1}, torch.tensor([1.0, 2.0, 3.0]), 0.1),
    ):
        expected = F.cross_entropy(logits, targets, weight, label_smoothing=smoothing)
        torch.testing.assert_close(build(**keys).loss(logits, targets), expected)


def test_loss_is_computed_in_float32() -> None:
    loss = build().loss(torch.randn(4, 3, dtype=torch.bfloat16), torch.tensor([0, 1, 2, 0]))
    assert loss.dtype == torch.float32


def test_decoding_gives_the_label_and_all_probabilities() -> None:
    (prediction,) = build().decode(torch.tensor([[0.0, 0.0, 5.0]]))
    assert prediction["label"] == "yes"
    assert list(prediction["probabilities"]) == ["maybe", "no", "yes"]
    assert sum(prediction["probabilities"].values()) == pytest.approx(1)


def test_monitors() -> None:
    assert build().monitor == build().default_monitor == "accuracy"
    assert build(monitor="f1_macro").monitor == "f1_macro"
    assert build(monitor="loss").higher_is_better("loss") is False
    assert build().higher_is_better("accuracy") is True
    with pytest.raises(RecipeError, match=r"task\.answer\.monitor  'acuracy' is no metric .*mean \"accuracy\""):
        build(monitor="acuracy")
    with pytest.raises(RecipeError, match="'ap_micro' is no metric of classification"):
        build(monitor="ap_micro")


def test_recipes_and_data_that_cannot_work_are_refused() -> None:
    with pytest.raises(DataError, match="has 1 labels, fewer than 2"):
        build(["yes", "yes"])
    with pytest.raises(RecipeError, match="labels are needed"):
        build(None)
    with pytest.raises(RecipeError, match="'a' is listed twice"):
        build(labels=["a", "b", "a"])
    with pytest.raises(RecipeError, match="2 weights for 3 labels"):
        build(class_weight=[1.0, 2.0])
    weights = build(labels=["no", "yes", "maybe", "never"], class_weight="balanced").class_weight
    assert weights is not None
    assert weights[3] == 1  # of what no sample has nothing is learnt


def test_without_training_data_a_task_still_decodes() -> None:
    task = build(None, labels=["no", "yes"], class_weight="balanced")
    assert task.decode(torch.tensor([[1.0, 0.0]]))[0]["label"] == "no"
