from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adaptkit.errors import Diverged
from adaptkit.training.checkpoint import BEST, LAST, Best, Progress, Training, load_best, read_checkpoint, save_best
from adaptkit.training.machine import build_accelerator
from adaptkit.training.schedules import LRSchedule

GOOD = {"weight": torch.ones(3)}
BAD = {"weight": torch.tensor([1.0, math.inf, 0.0])}


class Weight(nn.Module):
    """Three numbers that look like an adapted model."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def trainable_state(self) -> dict[str, Tensor]:
        return {"weight": self.weight.detach()}

    def load_trainable_state(self, state: dict[str, Tensor]) -> None:
        self.load_state_dict(state)


def training(folder: Path) -> Training:
    model, accelerator = Weight(), build_accelerator("fp32")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    schedule = LRSchedule(optimizer, name="linear", total=20)
    return Training(model, accelerator.prepare_optimizer(optimizer), schedule, accelerator, folder)


def step(moving: Training) -> list[float]:
    moving.model.weight.grad = torch.randn(3)
    moving.optimizer.step()
    moving.schedule.after_step()
    moving.progress.count(1, 0.5)
    return moving.model.weight.tolist()


def test_a_training_goes_on_where_its_checkpoint_is(tmp_path: Path) -> None:
    first = training(tmp_path)
    first.resume()  # there is none yet: this writes it
    assert (tmp_path / LAST).exists()
    step(first)
    first.save()
    expected = [step(first) for _ in range(3)]
    again = training(tmp_path)
    again.resume()
    assert again.progress == Progress(batch=1, step=1, loss_sum=0.5, loss_steps=1)
    assert [step(again) for _ in range(3)] == expected


def test_parameters_that_are_not_finite_never_replace_a_good_checkpoint(tmp_path: Path) -> None:
    moving = training(tmp_path)
    moving.save()
    save_best(tmp_path, Best(GOOD, {"accuracy": 0.5, "f1": None}, ("why",)))
    before = [(tmp_path / name).read_bytes() for name in (LAST, BEST)]
    nn.init.constant_(moving.model.weight, math.inf)
    with pytest.raises(Diverged, match="last good state is kept"):
        moving.save()
    with pytest.raises(Diverged):
        save_best(tmp_path, Best(BAD, {}))
    assert [(tmp_path / name).read_bytes() for name in (LAST, BEST)] == before
    best = load_best(tmp_path)
    assert torch.equal(best.trainable["weight"], GOOD["weight"])
    assert (best.metrics, best.warnings) == ({"accuracy": 0.5, "f1": None}, ("why",))


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path / LAST) is None


def test_what_counts_as_a_gain() -> None:
    """The best score may gain little by little while early stopping waits for a gain of `min_delta`."""
    now = Progress()
    found = []
    for score in (0.5, 0.55, 0.58, None, 0.62):
        best = now.judge(score, 0.1)
        found.append((best, now.stale))
        now.epoch += 1
    assert found == [(True, 0), (True, 1), (True, 2), (False, 3), (True, 0)]
    assert (now.best_score, now.best_epoch, now.reference) == (0.62, 5, 0.62)
