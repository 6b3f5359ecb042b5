"""A training on several sources, each with its own tasks: learned at once, resumed exactly, measured one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from adaptkit.artifact import load_artifact
from adaptkit.errors import Interrupted
from adaptkit.evaluation import evaluate
from adaptkit.plan import make_plan
from adaptkit.recipe import Recipe, parse_recipe
from adaptkit.training import StopRequested, train
from adaptkit.training.callbacks import Callback

WORDS = {"colour": ("is it red ?", "is it big ?"), "size": ("is the thing big ?", "is the thing red ?")}


def written(root: Path) -> None:
    """Each task is told by one word, and the tasks disagree on what it means."""
    for name, texts in WORDS.items():
        (root / name).mkdir(parents=True)
        for split, rows in (("train", 24 if name == "colour" else 20), ("validation", 6), ("test", 4)):
            lines = [{"id": f"{i}", "text": texts[i % 2], "answer": ["no", "yes"][i % 2]} for i in range(rows)]
            (root / name / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def recipe(root: Path, model: Path, **more: Any) -> Recipe:
    answer = {"kind": "classification", "labels": ["no", "yes"], "column": "answer"}
    return parse_recipe(
        {
            "name": "several",
            "backbone": {"model": str(model), "max_tokens": 12},
            "modality": {"text": {"kind": "text", "route": "backbone"}},
            "adapter": {"a": {"kind": "bottleneck", "at": "mlp.out", "bottleneck": 4, "per_task": "multiple"}},
            "data": {
                "format": "mixture",
                "sources": {name: {"format": "jsonl", "root": str(root / name)} for name in WORDS},
            },
            "task": {"colour": answer | {"batch_size": 4}, "size": answer},
            "train": {"epochs": 12, "batch_size": 5, "optimizer": {"name": "adamw", "lr": 0.02}},
        }
        | more
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Any:
    root = tmp_path_factory.mktemp("several")
    written(root)
    return root, train(make_plan(recipe(root, tiny_bert)), runs=root / "runs")


def test_both_tasks_are_learned_at_once(done: Any) -> None:
    _, result = done
    found = result.metrics["test"]
    assert found["colour.accuracy"] == found["size.accuracy"] == 1.0
    assert set(found) >= {"loss", "colour.accuracy", "size.accuracy"}


def test_predictions_say_their_task(done: Any) -> None:
    _, result = done
    lines = [json.loads(line) for line in (result.run / "predictions" / "test.jsonl").read_text().splitlines()]
    assert [line["task"] for line in lines] == ["colour"] * 4 + ["size"] * 4
    assert all(line["label"] == line["target"] for line in lines)


def test_the_artifact_measures_the_same(done: Any) -> None:
    _, result = done
    found = evaluate(result.artifact, splits=["test"]).metrics["test"]
    assert found == pytest.approx(result.metrics["test"])


def test_a_task_moves_its_own_copy_alone(done: Any) -> None:
    _, result = done
    model = load_artifact(result.artifact)
    names = [name for name in model.trainable_state() if ".adapters." in name]
    assert any(".copies.colour." in name for name in names)
    assert any(".copies.size." in name for name in names)


class After(Callback):
    """Ends the training like Ctrl-C."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def step_done(self, event: Any) -> None:
        if event.step == self.steps:
            raise StopRequested


def test_an_interrupted_training_goes_on_exactly(done: Any, tmp_path: Path, tiny_bert: Path) -> None:
    root, whole = done
    told = recipe(root, tiny_bert, train={"epochs": 12, "batch_size": 5, "optimizer": {"name": "adamw", "lr": 0.02},
                                          "checkpoint_every": "1 steps"})  # fmt: skip
    with pytest.raises(Interrupted):
        train(make_plan(told), runs=tmp_path, callbacks=[After(11)])
    resumed = train(make_plan(told), runs=tmp_path, resume=True)
    ours, theirs = (load_artifact(result.artifact).trainable_state() for result in (resumed, whole))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
