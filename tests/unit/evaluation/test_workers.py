"""An evaluation that has workers is the one without."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptkit.data.loading import Loader
from adaptkit.evaluation.material import gather
from adaptkit.model import build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe


def test_processes_prepare_the_batches_of_an_evaluation(tiny_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Watched(Loader):
        def __init__(self, samples, collate, workers=0):
            asked.append(workers)
            super().__init__(samples, collate, workers)

    monkeypatch.setattr("adaptkit.evaluation.measure.Loader", Watched)
    found = []
    for workers in (0, 2):
        plan = make_plan(load_recipe(tiny_recipe, [f"train.workers={workers}"]))
        found.append(gather(plan).measure(build_model(plan, seed=0), "test"))
    assert asked == [0, 2]
    assert found[0].metrics == found[1].metrics
    assert found[0].ids == found[1].ids
