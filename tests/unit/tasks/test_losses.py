"""Losses: the focal one, weights per label, and the short form in a recipe."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from adaptkit.errors import RecipeError
from adaptkit.kinds import LOSSES
from adaptkit.recipe import parse_recipe, resolved_tables
from adaptkit.tasks import Task
from adaptkit.tasks.classification.table import Classification
from adaptkit.tasks.losses import focal

LOGITS, TARGETS, WEIGHTS = torch.randn(8, 3), torch.arange(8) % 3, torch.tensor([1.0, 2.0, 0.5])


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_focal_towards_zero_is_cross_entropy(weights: torch.Tensor | None) -> None:
    torch.testing.assert_close(focal(LOGITS, TARGETS, weights, gamma=0), F.cross_entropy(LOGITS, TARGETS, weights))


def test_focal_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 3.0**0.5]])
    p = torch.softmax(logits, 1)[[0, 1], [0, 1]]
    torch.testing.assert_close(focal(logits, torch.tensor([0, 1])), (-((1 - p) ** 2) * p.log()).mean())


def test_a_loss_gets_the_weights_of_the_task() -> None:
    spec = Classification(kind="classification", labels=["a", "b", "c"], class_weight=[1.0, 2.0, 0.5], loss="focal")  # type: ignore[arg-type]
    found = Task.build(spec, "y").loss(LOGITS.bfloat16(), TARGETS)
    torch.testing.assert_close(found, focal(LOGITS.bfloat16().float(), TARGETS, WEIGHTS))


def test_the_index_knows_what_a_loss_is_for() -> None:
    assert LOSSES.kinds["mse"].facts == {"tasks": ("regression",), "weighted": False}
    assert LOSSES.kinds["focal"].facts == {"tasks": ("classification",), "weighted": True}


def recipe(**task: Any) -> Any:
    return parse_recipe(
        {
            "schema": 1,
            "name": "x",
            "backbone": {"model": "bert-base"},
            "modality": {"text": {"kind": "text", "route": "backbone"}},
            "data": {"format": "jsonl", "root": "."},
            "task": {"y": task},
        }
    )


@pytest.mark.parametrize(
    ("kind", "loss", "written"),
    [
        ("regression", None, "mse"),
        ("regression", "l1", "l1"),
        ("regression", {"kind": "huber"}, "huber"),
        ("regression", {"kind": "huber", "delta": 0.5}, {"kind": "huber", "delta": 0.5}),
        ("classification", "focal", "focal"),
        ("classification", None, None),
    ],
)
def test_a_loss_is_written_back_as_short_as_it_can_be(kind: str, loss: Any, written: Any) -> None:
    found = recipe(kind=kind, **({} if loss is None else {"loss": loss}))
    assert resolved_tables(found)["task"]["y"].get("loss") == written


def test_keys_of_the_own_loss_and_a_named_one_contradict() -> None:
    with pytest.raises(RecipeError, match=r"task\.y\.label_smoothing: .*own loss"):
        recipe(kind="classification", loss="focal", label_smoothing=0.1)


def test_weights_need_a_loss_that_takes_them() -> None:
    LOSSES.register("plain")(lambda logits, targets: logits.mean())
    try:
        with pytest.raises(RecipeError, match=r'task\.y\.pos_weight: the loss "plain" takes no weights per label'):
            recipe(kind="multilabel", loss="plain", pos_weight=[1.0, 2.0])
    finally:
        del LOSSES["plain"]
