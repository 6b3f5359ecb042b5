from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from adaptkit.errors import RecipeError
from adaptkit.training.optimizers import OPTIMIZERS, build_optimizer, split_parameters


def model() -> nn.Module:
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    net[2].weight.requires_grad_(False)
    return net


def test_biases_and_norms_are_not_decayed_and_frozen_parameters_are_left_out() -> None:
    net = model()
    decayed, exempt = split_parameters(net)
    assert [id(p) for p in decayed] == [id(net[0].weight)]
    assert {id(p) for p in exempt} == {id(p) for p in (net[0].bias, net[1].weight, net[1].bias, net[2].bias)}


@pytest.mark.parametrize("name", ["adamw", "Adam", "SGD", "rmsprop", "NAdam"])
def test_any_optimizer_by_name(name: str) -> None:
    optimizer = build_optimizer(model(), name=name, lr=0.1, weight_decay=0.5)
    assert type(optimizer).__name__.lower() == name.lower()
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]


def test_keywords_reach_the_class() -> None:
    optimizer = build_optimizer(model(), name="sgd", lr=0.1, momentum=0.9, nesterov=True)
    assert optimizer.param_groups[0]["momentum"] == 0.9


def test_unknown_optimizer_gets_a_suggestion() -> None:
    with pytest.raises(RecipeError, match=r"unknown optimizer 'adamv'.*adam"):
        build_optimizer(model(), name="adamv", lr=0.1)


def test_unknown_keyword_is_named() -> None:
    with pytest.raises(RecipeError, match=r"SGD has no keyword 'momentun'.*momentum"):
        build_optimizer(model(), name="sgd", lr=0.1, momentun=0.9)


def test_weight_decay_where_the_class_has_none() -> None:
    build_optimizer(model(), name="rprop", lr=0.1)
    with pytest.raises(RecipeError, match="Rprop has no keyword 'weight_decay'"):
        build_optimizer(model(), name="rprop", lr=0.1, weight_decay=0.1)


def test_a_value_the_class_refuses() -> None:
    with pytest.raises(RecipeError, match="AdamW refuses"):
        build_optimizer(model(), name="adamw", lr=0.1, betas=[2.0, 0.9])


@pytest.fixture
def signed() -> Iterator[None]:
    @OPTIMIZERS.register("signed")
    def signed(parameters: Any, *, lr: float, weight_decay: float = 0.0, beta: float = 0.9) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay, momentum=beta)

    yield
    del OPTIMIZERS["signed"]


def test_an_optimizer_from_outside(signed: None) -> None:
    """A function with keyword-only arguments; its keywords are checked and its weight decay is split as any other's."""
    optimizer = build_optimizer(model(), name="signed", lr=0.1, weight_decay=0.5, beta=0.5)
    assert [(group["weight_decay"], group["momentum"]) for group in optimizer.param_groups] == [(0.5, 0.5), (0.0, 0.5)]
    with pytest.raises(RecipeError, match=r"signed has no keyword 'betta'.*beta"):
        build_optimizer(model(), name="signed", lr=0.1, betta=0.5)
    with pytest.raises(RecipeError, match="has the name of one of"):
        OPTIMIZERS.register("signed")(torch.optim.SGD)
