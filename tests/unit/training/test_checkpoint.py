from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adaptkit.errors import Diverged, RunError
from adaptkit.training.checkpoint import (
    BEST,
    COPY,
    LAST,
    PREVIOUS,
    Best,
    Progress,
    Training,
    _write,
    load_best,
    read_checkpoint,
    save_best,
)
from adaptkit.training.machine import build_accelerator
from adaptkit.training.packing import pack
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


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    first = training(tmp_path)
    first.save()
    step(first)
    first.save()
    before = (tmp_path / PREVIOUS).read_bytes()
    spoil(tmp_path / LAST)
    again = training(tmp_path)
    assert "last.safetensors is not a readable checkpoint" in again.resume()
    assert again.progress.step == 0
    assert (tmp_path / LAST).read_bytes() == before  # so that the next one does not replace the good one by the bad
    assert training(tmp_path).resume() == ""


def test_a_crash_between_the_renames_leaves_the_one_before(tmp_path: Path) -> None:
    moving = training(tmp_path)
    moving.save()
    (tmp_path / LAST).rename(tmp_path / PREVIOUS)
    step(moving)
    assert (training(tmp_path).resume(), read_checkpoint(tmp_path / LAST)) == ("", None)


def test_damage_without_a_predecessor_is_an_error(tmp_path: Path) -> None:
    moving = training(tmp_path)
    moving.save()
    spoil(tmp_path / LAST)
    with pytest.raises(RunError, match=r"last\.safetensors  is not a readable checkpoint") as caught:
        training(tmp_path).resume()
    assert caught.value.code == 4
    moving.save()
    moving.save()
    for name in (LAST, PREVIOUS):
        spoil(tmp_path / name)
    with pytest.raises(RunError, match=r"last\.safetensors"):
        training(tmp_path).resume()


def test_the_best_state_has_a_copy(tmp_path: Path) -> None:
    save_best(tmp_path, Best(GOOD, {"accuracy": 0.5}))
    spoil(tmp_path / BEST)
    assert torch.equal(load_best(tmp_path).trainable["weight"], GOOD["weight"])
    spoil(tmp_path / COPY)
    with pytest.raises(RunError, match=r"best\.safetensors  is not a readable"):
        load_best(tmp_path)


def test_a_damaged_best_state_is_told_before_training_goes_on(tmp_path: Path) -> None:
    moving = training(tmp_path)
    moving.progress.best_epoch = 1
    moving.save()
    with pytest.raises(RunError, match=r"best\.safetensors  is missing"):
        training(tmp_path).resume()


def test_a_checkpoint_is_due_by_steps_or_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("adaptkit.training.checkpoint.time.monotonic", lambda: now[0])

    def saved_at(every: tuple[float, float], steps: int) -> list[int]:
        moving, found = training(tmp_path / str(every)), []
        moving.every, moving.saved = every, (0, now[0])
        for _ in range(steps):
            step(moving)
            now[0] += 1.0
            moving.save_if_due()
            found += [moving.progress.step] if moving.saved[0] == moving.progress.step else []
        return found

    assert saved_at((3, math.inf), 7) == [3, 6]
    assert saved_at((math.inf, 2.0), 5) == [2, 4]
    assert saved_at((math.inf, math.inf), 3) == []


def test_a_file_in_the_place_of_another_is_noticed(tmp_path: Path) -> None:
    """Each is whole, and would be another state or none at all."""
    state = {"trainable": {"a": torch.ones(2)}, "progress": 1}
    for name in (LAST, BEST):
        _write(tmp_path / name, state)
    assert all((read_checkpoint(tmp_path / name) or {}).keys() == state.keys() for name in (LAST, BEST))
    for source, target, told in ((LAST, COPY, "last"), (BEST, PREVIOUS, "best")):
        shutil.copyfile(tmp_path / source, tmp_path / target)
        with pytest.raises(RunError, match=f"is a checkpoint of the {told} state"):
            read_checkpoint(tmp_path / target)
    (tmp_path / LAST).write_bytes(pack(state))  # of a version that did not say it
    assert (read_checkpoint(tmp_path / LAST) or {})["progress"] == 1
