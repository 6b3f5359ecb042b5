from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from adaptkit.data import Sample
from adaptkit.errors import DataError, UsageError
from adaptkit.evaluation import evaluate
from adaptkit.evaluation.measure import measure
from adaptkit.evaluation.monitor import Monitor
from adaptkit.tasks import Task
from adaptkit.tasks.multilabel.table import Multilabel
from adaptkit.tasks.regression.table import Regression
from tests.fuzz.artifacts import describe


def test_evaluation_repeats_what_training_measured(tiny_run: Path) -> None:
    summary = json.loads((tiny_run / "summary.json").read_text())
    found = evaluate(tiny_run, device="cpu")
    assert found.metrics == summary["metrics"]
    assert found.ablations == summary["ablations"]
    assert evaluate(tiny_run / "artifact", device="cpu").metrics == found.metrics


def test_the_batch_size_does_not_matter(tiny_run: Path) -> None:
    one, other = (evaluate(tiny_run, splits=["test"], batch_size=size, device="cpu") for size in (3, 16))
    assert one.metrics["test"]["loss"] == pytest.approx(other.metrics["test"]["loss"], rel=1e-5)
    assert one.metrics["test"]["accuracy"] == other.metrics["test"]["accuracy"]


def test_chosen_splits_and_modalities(tiny_run: Path) -> None:
    found = evaluate(tiny_run, splits=["train", "validation"], drop=["features"], device="cpu")
    assert set(found.metrics) == {"train", "validation"}
    assert set(found.ablations) == {"features"}
    assert set(found.ablations["features"]) == {"train", "validation"}
    assert found.ablations["features"]["train"]["loss"] != found.metrics["train"]["loss"]


def test_an_exported_artifact_evaluates_from_anywhere(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_run / "artifact", tmp_path / "adapter")
    monkeypatch.chdir(tmp_path)
    assert evaluate(Path("adapter"), device="cpu").metrics == evaluate(tiny_run, device="cpu").metrics


def test_wrong_names(tiny_run: Path) -> None:
    with pytest.raises(UsageError, match=r"no split 'tset'.*test"):
        evaluate(tiny_run, splits=["tset"])
    with pytest.raises(UsageError, match=r"no modality 'feature'.*features"):
        evaluate(tiny_run, drop=["feature"])
    with pytest.raises(UsageError, match="backbone's own input"):
        evaluate(tiny_run, drop=["question"])


def test_data_that_is_gone(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))

    def move(content: dict[str, Any]) -> None:
        content["recipe"] = content["recipe"].replace('test = "test.jsonl"', 'test = "gone.jsonl"')

    describe(run / "artifact", move)
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        evaluate(run)


def test_the_score_of_a_monitor() -> None:
    monitor = Monitor(("a.accuracy", "b.mae"), (1, -1))
    assert monitor.name == "a.accuracy + b.mae"
    assert monitor.score({"a.accuracy": 0.75, "b.mae": 0.25}) == 0.25
    assert monitor.score({"a.accuracy": None, "b.mae": 0.25}) is None
    assert monitor.score({"a.accuracy": float("nan"), "b.mae": 0.25}) is None
    scaled = Monitor(("a.accuracy", "b.mae"), (1, -1), (0.5, 2.0))
    assert scaled.score({"a.accuracy": 0.75, "b.mae": 0.5}) == (1.5 - 0.25) / 2


class Echo(torch.nn.Module):
    """Gives back what it is fed."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Any, *, drop: Any = ()) -> dict[str, torch.Tensor]:
        return {name: values["values"] for name, values in inputs.items()}


def test_tasks_are_measured_by_their_conventions_and_labels() -> None:
    tasks = {
        "mood": Task.build(Regression(kind="regression", conventions="mosi"), "mood"),
        "emotions": Task.build(
            Multilabel(kind="multilabel", conventions="iemocap", labels=["happy", "sad"]), "emotions"
        ),
    }
    rows = [(1.0, [3.0, -3.0], 0.5, ["happy"]), (-1.0, [3.0, -3.0], 2.0, []), (0.0, [-3.0, -3.0], 0.0, ["sad"])]
    samples = [
        Sample(str(i), {"mood": p, "emotions": q}, {"mood": y, "emotions": z}) for i, (p, q, y, z) in enumerate(rows)
    ]

    def collate(samples: Any) -> dict[str, Any]:
        return {
            "ids": [sample.id for sample in samples],
            "inputs": {
                "mood": {"values": torch.tensor([[sample.inputs["mood"]] for sample in samples])},
                "emotions": {"values": torch.tensor([sample.inputs["emotions"] for sample in samples])},
            },
            "targets": {
                name: task.encode([sample.targets[name] for sample in samples], ["here"] * len(samples))
                for name, task in tasks.items()
            },
        }

    found = measure(Echo(), tasks, samples, collate, batch_size=2)
    assert found.metrics["mood.acc2_has0"] == pytest.approx(2 / 3)
    assert found.metrics["mood.acc2_non0"] == pytest.approx(1 / 2)
    assert found.metrics["emotions.accuracy_happy"] == pytest.approx(2 / 3)
    assert found.metrics["emotions.accuracy_sad"] == pytest.approx(2 / 3)
    assert "emotions: 'sad' is never predicted" in found.warnings
