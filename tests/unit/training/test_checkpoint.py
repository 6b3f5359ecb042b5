from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from adaptkit.errors import Diverged
from adaptkit.training.checkpoint import Best, Progress, load_best, load_last, save_best, save_last

GOOD = {"weight": torch.ones(3)}
BAD = {"weight": torch.tensor([1.0, math.inf, 0.0])}


def test_last_comes_back_as_it_was(tmp_path: Path) -> None:
    assert load_last(tmp_path) is None
    progress = Progress(epoch=2, batch=3, step=19, loss_sum=0.1, loss_steps=1, best_score=0.7, best_epoch=1, stale=1)
    save_last(tmp_path, progress, GOOD, {"optimizer": {"state": {0: {"step": torch.tensor(19.0)}}}})
    found = load_last(tmp_path)
    assert found is not None
    assert found[0] == progress
    assert torch.equal(found[1]["weight"], GOOD["weight"])
    assert found[2]["optimizer"]["state"][0]["step"] == 19


def test_parameters_that_are_not_finite_never_replace_a_good_checkpoint(tmp_path: Path) -> None:
    save_best(tmp_path, Best(GOOD, {"accuracy": 0.5, "f1": None}, ("why",)))
    save_last(tmp_path, Progress(), GOOD, {})
    with pytest.raises(Diverged, match="last good state is kept"):
        save_last(tmp_path, Progress(step=1), BAD, {})
    with pytest.raises(Diverged):
        save_best(tmp_path, Best(BAD, {}))
    best = load_best(tmp_path)
    assert torch.equal(best.trainable["weight"], GOOD["weight"])
    assert (best.metrics, best.warnings) == ({"accuracy": 0.5, "f1": None}, ("why",))
    found = load_last(tmp_path)
    assert found is not None
    assert found[0] == Progress()
