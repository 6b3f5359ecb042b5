from __future__ import annotations

import math
from copy import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from adaptkit.errors import RecipeError
from adaptkit.training.schedules import SCHEDULES, LRSchedule, warmup_steps


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


@settings(deadline=None)
@given(st.lists(st.none() | st.sampled_from([-1.0, 0.0, 0.5, 1.0])), st.integers(0, 3), st.sampled_from([0.1, 0.5]))
def test_plateau_reduces_as_torch_does(scores: list[float | None], patience: int, factor: float) -> None:
    """To the bit."""
    optimizers = [torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-2) for _ in range(2)]
    ours = LRSchedule(optimizers[0], name="plateau", total=10, factor=factor, patience=patience)
    torchs = ReduceLROnPlateau(optimizers[1], "max", factor=factor, patience=patience, threshold=0.0, eps=0.0)
    for score in scores:
        ours.after_validation(score)
        if score is not None:
            torchs.step(score)
        assert ours.lr == optimizers[1].param_groups[0]["lr"]


def test_a_schedule_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the warm-up for nothing, and `warmup` and `total` if it names them."""
    monkeypatch.setattr("adaptkit.training.schedules.SCHEDULES", registry := copy(SCHEDULES))

    @registry.register("inverse_sqrt")
    def inverse_sqrt(step: int, *, warmup: int, offset: int = 1) -> float:
        return math.sqrt(offset / (step - warmup + offset))

    def schedule(**keys: Any) -> LRSchedule:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
        return LRSchedule(optimizer, name="inverse_sqrt", total=10, warmup=2, **keys)

    moving, found = schedule(offset=4), []
    for _ in range(4):
        found.append(moving.lr)
        moving.after_step()
    assert found == pytest.approx([1.0, 2.0, 2.0, 2 * math.sqrt(4 / 5)])
    with pytest.raises(RecipeError, match=r"inverse_sqrt has no keyword 'ofset'.*offset"):
        schedule(ofset=4)


def test_one_that_follows_the_validation_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptkit.training.schedules.SCHEDULES", registry := copy(SCHEDULES))

    @registry.register("impatient")
    def impatient(scores: list[float], *, factor: float) -> float:
        return factor if scores[-1] < max(scores) else 1.0

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    moving, found = LRSchedule(optimizer, name="impatient", total=10, factor=0.5), []
    for score in (0.1, None, 0.3, 0.2, 0.1, 0.4):
        moving.after_validation(score)
        moving.after_step()
        found.append(moving.lr)
    assert found == [1.0, 1.0, 1.0, 0.5, 0.25, 0.25]


def test_an_unknown_schedule() -> None:
    with pytest.raises(RecipeError, match=r"unknown schedule 'cosin'.*cosine"):
        LRSchedule(torch.optim.SGD([nn.Parameter()], lr=1.0), name="cosin", total=3)
