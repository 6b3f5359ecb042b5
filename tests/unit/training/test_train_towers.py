"""Training with towers: what is frozen stays, what is interrupted goes on, and one recipe starts from another."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from adaptkit.anatomy import fingerprint
from adaptkit.artifact import load_artifact
from adaptkit.artifact.format import read_description
from adaptkit.errors import Interrupted
from adaptkit.recipe import Recipe, parse_recipe
from adaptkit.training import Callback, train
from adaptkit.training.callbacks import StepDone
from tests.unit.training.tensors import tensors

SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
BERT = {"model": "bert", "config": SMALL | {"vocab_size": 1, "max_position_embeddings": 8}}
ACROSS = {
    "deep": {"kind": "gmu", "at": "block.out", "sides": ["sound@block.out"], "bottleneck": 3},
    "within": {"kind": "bottleneck", "at": "sound.mlp.out", "bottleneck": 2},
}


def recipe(data: Path, adapters: dict[str, Any], **more: Any) -> Recipe:
    """A backbone from a configuration, fed by vectors alone, and a tower beside it."""
    vectors = {"kind": "features", "width": 4, "max_tokens": 2, "column": "features"}
    tower = BERT | {"train": more.pop("tower_train", [])}
    return parse_recipe(
        {
            "schema": 1,
            "name": "towers",
            "backbone": BERT | more.pop("backbone", {}),
            "modality": {
                "words": vectors | {"route": "tokens"},
                "sound": vectors | {"route": "fusion", "tower": tower},
            },
            "adapter": adapters,
            "data": {"format": "jsonl", "root": str(data)},
            "task": {"answer": {"kind": "classification", "labels": ["no", "yes"]}},
            "train": {"epochs": 2, "batch_size": 8, "optimizer": {"name": "adamw", "lr": 0.01}},
            **more,
        }
    )


class InterruptingAt(Callback):
    """Sends Ctrl-C at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def step_done(self, event: StepDone) -> None:
        if event.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("trained", [[], ["norm"]], ids=["frozen", "norms"])
def test_an_interrupted_training_with_towers_ends_as_a_whole_one(
    tiny_data: Path, tmp_path: Path, trained: list[str]
) -> None:
    asked = recipe(tiny_data, ACROSS, tower_train=trained)
    whole = train(asked, runs=tmp_path / "whole").run
    with pytest.raises(Interrupted):
        train(asked, runs=tmp_path / "runs", callbacks=[InterruptingAt(7)])
    assert tensors(train(asked, runs=tmp_path / "runs", resume=True).run) == tensors(whole)
    held = read_description(whole / "artifact").shapes
    of_tower = [name for name in held if ".tower.model." in name and ".adapters." not in name]
    assert bool(of_tower) == bool(trained)


def test_what_one_recipe_trained_another_freezes_and_adapts(tiny_data: Path, tmp_path: Path) -> None:
    """Backbone and tower are pre-trained on the task, then frozen, grafted and tuned (Wander)."""
    first = recipe(tiny_data, {}, backbone={"train": ["all"]}, tower_train=["all"])
    base = train(first, runs=tmp_path / "base")
    second = recipe(tiny_data, ACROSS, init_from=str(base.run))
    tuned = train(second, runs=tmp_path / "tuned")
    before, after = load_artifact(base.run), load_artifact(tuned.run)
    assert fingerprint(before.backbone) == fingerprint(after.backbone)
    assert fingerprint(before.towers["sound"]) == fingerprint(after.towers["sound"])
    descriptions = [read_description(run.run / "artifact") for run in (base, tuned)]
    assert descriptions[0].base == descriptions[1].base  # the untrained one, from the configuration
    assert descriptions[0].towers == descriptions[1].towers
    assert descriptions[0].towers["sound"].fingerprint != fingerprint(after.towers["sound"])
    assert not any(p.requires_grad for n, p in after.towers["sound"].named_parameters() if ".adapters." not in n)
    assert torch.isfinite(torch.tensor(tuned.metrics["test"]["loss"]))
