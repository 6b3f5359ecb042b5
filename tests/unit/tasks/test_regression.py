"""Regression: targets, losses, decoding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from adaptkit.errors import DataError, RecipeError
from adaptkit.tasks import Task
from adaptkit.tasks.regression.table import Regression


def build(**keys: Any) -> Task:
    return Task.build(Regression(kind="regression", **keys), "sentiment", None)


def test_targets_are_one_or_several_numbers() -> None:
    assert build().encode([1, 2.5, [3]], list("abc")).tolist() == [[1.0], [2.5], [3.0]]
    assert build(outputs=2).encode([[1, 2]], ["a"]).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("value", [None, "1", True, float("nan"), float("inf"), [1, 2], []])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match=r"sample a  the target .* is not one finite number"):
        build().encode([value], ["sample a"])


@pytest.mark.parametrize(("name", "loss"), [("l1", F.l1_loss), ("mse", F.mse_loss), ("huber", F.huber_loss)])
def test_losses(name: str, loss: Any) -> None:
    outputs, targets = torch.randn(6, 2) * 3, torch.randn(6, 2)
    torch.testing.assert_close(build(outputs=2, loss=name).loss(outputs, targets), loss(outputs, targets))


def test_decoding() -> None:
    assert build().decode(torch.tensor([[1.5], [2.0]])) == [{"value": 1.5}, {"value": 2.0}]
    assert build(outputs=2).decode(torch.tensor([[1.5, 2.0]])) == [{"values": [1.5, 2.0]}]


def test_a_lower_error_is_better() -> None:
    assert build().monitor == "mae"
    assert not build().higher_is_better("mae")
    assert build().higher_is_better("pearson")


def test_conventions_add_metrics_that_can_be_monitored() -> None:
    assert build(conventions="mosi", monitor="acc2_non0").higher_is_better("acc2_non0")
    assert not build(conventions="sims", monitor="mae_sims").higher_is_better("mae_sims")
    with pytest.raises(RecipeError, match=r"task\.sentiment\.monitor.*Write conventions = \"mosi\", which adds it"):
        build(monitor="acc2_non0")
    with pytest.raises(RecipeError, match="write outputs = 1"):
        build(conventions="mosi", outputs=2)
