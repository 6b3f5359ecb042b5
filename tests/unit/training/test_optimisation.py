from __future__ import annotations

import pytest
import torch
from torch import nn

from adaptkit.errors import RecipeError
from adaptkit.training.optimisation import LRSchedule, build_optimizer, lr_factor, split_parameters, warmup_steps


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


def test_warmup_is_steps_or_a_share() -> None:
    assert warmup_steps(5, 100) == 5
    assert warmup_steps(0.1, 100) == 10
    assert warmup_steps(0, 100) == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1, 1, 0.8535533905932737, 0.5, 0.1464466094067262]),
    ],
)
def test_values_of_the_schedules(name: str, expected: list[float]) -> None:
    assert [lr_factor(name, step, 2, 6) for step in range(6)] == pytest.approx(expected)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = LRSchedule(optimizer, name=name, warmup=2, total=6)
    found = []
    for _ in range(6):
        found.append(schedule.lr)
        optimizer.step()
        schedule.after_step()
    assert found == pytest.approx([2 * value for value in expected])


def test_plateau_reduces_after_patience_and_only_after_the_warmup() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = LRSchedule(optimizer, name="plateau", warmup=2, total=100, factor=0.5, patience=1)
    schedule.after_validation(-1.0)
    for _ in range(2):
        optimizer.step()
        schedule.after_step()
    rates = []
    for score in (-1.0, -1.0, -1.1, -0.5, None, -0.6, -0.6):
        schedule.after_validation(score)
        optimizer.step()
        schedule.after_step()
        rates.append(schedule.lr)
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("name", ["linear", "plateau"])
def test_a_schedule_continues_from_its_state(name: str) -> None:
    def run(schedule: LRSchedule, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
        rates = []
        for _ in range(steps):
            optimizer.step()
            schedule.after_step()
            schedule.after_validation(0.0)
            rates.append(schedule.lr)
        return rates

    def build() -> tuple[LRSchedule, torch.optim.Optimizer]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        return LRSchedule(optimizer, name=name, warmup=3, total=12), optimizer

    whole = run(*build(), 12)
    schedule, optimizer = build()
    run(schedule, optimizer, 5)
    state, state_of_optimizer = schedule.state_dict(), optimizer.state_dict()
    again, other = build()
    other.load_state_dict(state_of_optimizer)
    again.load_state_dict(state)
    assert run(again, other, 7) == whole[5:]
