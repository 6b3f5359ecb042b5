"""What a training writes, and how it ends when something goes wrong."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from adaptkit.errors import DataError, Diverged, RunError
from adaptkit.recipe import load_recipe
from adaptkit.training import Callback, list_runs, read_run, train
from adaptkit.training.callbacks import Evaluated, StepDone, Validated
from adaptkit.training.checkpoint import LAST, load_best, read_checkpoint


class Keeping(Callback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[StepDone] = []
        self.validations: list[Validated] = []
        self.notes: list[str] = []
        self.closed = 0

    def step_done(self, event: StepDone) -> None:
        self.steps.append(event)

    def validated(self, event: Validated) -> None:
        self.validations.append(event)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def close(self) -> None:
        self.closed += 1


def test_the_run_folder(tiny_run: Path) -> None:
    names = {path.name for path in tiny_run.iterdir()}
    assert names == {
        "recipe.toml",
        "resolved.toml",
        "plan.json",
        "env.json",
        "status.json",
        ".lock",
        "metrics.jsonl",
        "summary.json",
        "checkpoints",
        "predictions",
        "artifact",
    }
    assert load_recipe(tiny_run / "resolved.toml", base=Path()) == load_recipe(tiny_run / "recipe.toml", base=Path())
    plan, summary = (json.loads((tiny_run / name).read_text()) for name in ("plan.json", "summary.json"))
    assert [graft["layer"] for graft in plan["grafts"]] == [0, 1]
    assert summary["parameters"] == plan["parameters"]
    assert set(summary["metrics"]) == {"validation", "test"}
    assert set(summary["ablations"]) == {"features"}
    assert summary["monitor"]["value"] == summary["metrics"]["validation"]["accuracy"]
    lines = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("train", 2),
        ("train", 4),
        ("train", 6),
        ("adapters", 6),
        ("validation", 6),
        ("train", 8),
        ("train", 10),
        ("train", 12),
        ("adapters", 12),
        ("validation", 12),
    ]
    predictions = [json.loads(line) for line in (tiny_run / "predictions" / "test.jsonl").read_text().splitlines()]
    right = [line["label"] == line["target"] for line in predictions]
    assert statistics.fmean(right) == summary["metrics"]["test"]["accuracy"]
    assert not list(tiny_run.rglob("*.tmp"))


def test_the_artifact_holds_the_best_state(tiny_run: Path) -> None:
    tensors = load_file(tiny_run / "artifact" / "adapter.safetensors")
    best = load_best(tiny_run / "checkpoints").trainable
    assert tensors.keys() == best.keys()
    assert all(torch.equal(tensor, best[name]) for name, tensor in tensors.items())


def test_training_learns_and_repeats_bit_for_bit(tiny_recipe: Path, tmp_path: Path) -> None:
    recipe = load_recipe(tiny_recipe)
    kept = Keeping()
    first = train(recipe, runs=tmp_path / "a", callbacks=[kept])
    second = train(recipe, runs=tmp_path / "b")
    assert first.metrics == second.metrics
    content = [(result.artifact / "adapter.safetensors").read_bytes() for result in (first, second)]
    assert content[0] == content[1]
    assert kept.closed == 1
    assert [event.step for event in kept.steps] == list(range(1, 13))


def test_several_seeds(tiny_recipe: Path, tmp_path: Path) -> None:
    recipe = load_recipe(tiny_recipe, ["train.seeds=[1, 2, 3]", "train.epochs=1"])
    result = train(recipe, runs=tmp_path)
    losses = [result.per_seed[seed]["metrics"]["test"]["loss"] for seed in ("1", "2", "3")]
    assert len(set(losses)) == 3
    assert result.metrics["test"]["loss"] == pytest.approx(statistics.fmean(losses))
    assert result.std["test"]["loss"] == pytest.approx(statistics.stdev(losses))
    scores = {seed: found["score"] for seed, found in result.per_seed.items()}
    assert scores[str(result.best_seed)] == max(scores.values())
    best = result.run / "seeds" / str(result.best_seed) / "artifact"
    for file in best.iterdir():
        assert file.read_bytes() == (result.artifact / file.name).read_bytes()
    assert (result.run / "predictions" / "test.jsonl").is_file()


def test_early_stopping(tiny_recipe: Path, tmp_path: Path) -> None:
    changes = [
        "train.epochs=20",
        "train.early_stopping={patience=2, min_delta=10.0}",
        'task.answer.monitor="loss"',
    ]
    kept = Keeping()
    train(load_recipe(tiny_recipe, changes), runs=tmp_path, callbacks=[kept])
    assert [event.epoch for event in kept.validations] == [1, 2, 3]
    losses = [event.metrics["loss"] for event in kept.validations]
    assert [event.best for event in kept.validations] == [
        loss == min(losses[: index + 1]) for index, loss in enumerate(losses)
    ]
    assert any("stopped early" in note for note in kept.notes)


def test_max_steps_ends_within_an_epoch(tiny_recipe: Path, tmp_path: Path) -> None:
    kept = Keeping()
    recipe = load_recipe(tiny_recipe, ["train.max_steps=8", "train.accumulation=1"])
    result = train(recipe, runs=tmp_path, callbacks=[kept])
    assert kept.steps[-1].step == kept.steps[-1].steps == 8
    assert [event.epoch for event in kept.validations] == [1, 2]
    assert result.per_seed["0"]["steps"] == 8


@pytest.mark.parametrize(
    "changes",
    [
        ['train.precision="bf16"'],
        ["train.gradient_checkpointing=true"],
        ["train.workers=1"],
        ["train.clip=0.5", 'train.optimizer={name="sgd", lr=0.1, momentum=0.9}'],
        ['modality.features.missing="mean"'],
        ['backbone.train=["norm"]'],
    ],
)
def test_settings_that_must_train(tiny_recipe: Path, tmp_path: Path, changes: list[str]) -> None:
    result = train(load_recipe(tiny_recipe, ["train.epochs=1", *changes]), runs=tmp_path)
    assert math.isfinite(result.metrics["validation"]["loss"] or math.nan)


def test_several_tasks(tiny_recipe: Path, tmp_path: Path) -> None:
    changes = ['task.amount={kind="regression", weight=0.5, monitor="mae"}', "train.epochs=1"]
    result = train(load_recipe(tiny_recipe, changes), runs=tmp_path)
    found = result.metrics["validation"]
    assert {"loss", "answer.accuracy", "amount.mae"} <= set(found)
    assert result.monitor == "answer.accuracy + amount.mae"
    assert result.per_seed["0"]["score"] == pytest.approx((found["answer.accuracy"] - found["amount.mae"]) / 2)
    line = json.loads((result.run / "predictions" / "test.jsonl").read_text().splitlines()[0])
    assert set(line) == {"id", "answer", "amount", "target"}


def test_gradient_checkpointing_changes_nothing(tiny_recipe: Path, tmp_path: Path) -> None:
    plain = train(load_recipe(tiny_recipe), runs=tmp_path / "plain")
    saving = train(load_recipe(tiny_recipe, ["train.gradient_checkpointing=true"]), runs=tmp_path / "saving")
    assert plain.metrics == saving.metrics


class Breaking(Callback):
    """After step 8 every linear layer gives NaN."""

    def step_done(self, event: StepDone) -> None:
        if event.step == 8:
            self.hook = torch.nn.modules.module.register_module_forward_hook(_spoil)


def _spoil(module: torch.nn.Module, args: object, output: object) -> object:
    if isinstance(module, torch.nn.Linear) and isinstance(output, torch.Tensor):
        return output * math.nan
    return None


def test_a_loss_that_turns_nan_keeps_the_last_good_state(tiny_recipe: Path, tmp_path: Path) -> None:
    breaking = Breaking()
    try:
        with pytest.raises(Diverged, match=r"loss is not finite.*last good state is kept") as caught:
            train(load_recipe(tiny_recipe), runs=tmp_path, callbacks=[breaking])
    finally:
        breaking.hook.remove()
    assert caught.value.code == 8
    assert "lr" in caught.value.problems[0].hint
    (run,) = list_runs(tmp_path)
    assert run.status == "diverged"
    assert "not finite" in run.message
    found = read_checkpoint(run.path / "checkpoints" / LAST)
    assert found is not None
    assert found["progress"]["step"] == 8
    assert all(bool(torch.isfinite(tensor).all()) for tensor in found["trainable"].values())
    assert load_best(run.path / "checkpoints").trainable.keys() == found["trainable"].keys()


def test_a_step_that_breaks_the_parameters_does_not_replace_the_checkpoint(
    tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = torch.optim.SGD.step

    def breaking(self: torch.optim.SGD, closure: None = None) -> None:
        step(self, closure)
        with torch.no_grad():
            self.param_groups[0]["params"][0].fill_(torch.inf)

    monkeypatch.setattr(torch.optim.SGD, "step", breaking)
    recipe = load_recipe(tiny_recipe, ['train.optimizer={name="sgd", lr=1e-3}'])
    with pytest.raises(Diverged):
        train(recipe, runs=tmp_path)
    found = read_checkpoint(list_runs(tmp_path)[0].path / "checkpoints" / LAST)
    assert found is not None
    assert all(bool(torch.isfinite(tensor).all()) for tensor in found["trainable"].values())


MOVING = """
import sys
from pathlib import Path

import torch

from adaptkit.errors import RunError
from adaptkit.recipe import load_recipe
from adaptkit.training import train


def move(module, args):
    if isinstance(module, torch.nn.LayerNorm) and not module.weight.requires_grad:
        module.weight.data[0] += 1e-3


recipe, runs = map(Path, sys.argv[1:])
torch.nn.modules.module.register_module_forward_pre_hook(move)
try:
    train(load_recipe(recipe, ["train.epochs=1"]), runs=runs)
except RunError as error:
    sys.exit(f"{__debug__}: {error}")
"""


def test_frozen_means_frozen_also_where_asserts_are_not_run(tiny_recipe: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-O", "-c", MOVING, str(tiny_recipe), str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (run,) = list_runs(tmp_path / "runs")
    assert done.stderr.splitlines()[-1].startswith(f"False: {run.path}  the backbone is frozen and has other values")
    assert run.status == "failed"
    assert (run.path / "checkpoints" / LAST).exists()
    assert not (run.path / "artifact").exists()


def test_a_failure_is_recorded(tiny_recipe: Path, tmp_path: Path) -> None:
    class Failing(Keeping):
        def step_done(self, event: StepDone) -> None:
            raise ValueError("of a caller's reporter")

    failing = Failing()
    with pytest.raises(ValueError, match="caller"):
        train(load_recipe(tiny_recipe), runs=tmp_path, callbacks=[failing])
    (run,) = list_runs(tmp_path)
    assert (run.status, run.message) == ("failed", "of a caller's reporter")
    assert failing.closed == 1


def test_a_folder_that_cannot_be_written(tiny_recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        train(load_recipe(tiny_recipe), runs=tmp_path / "file")


def test_missing_data_leaves_no_run(tiny_recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        train(load_recipe(tiny_recipe, ['data.test="nowhere.jsonl"']), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_status_tells_a_finished_run(tiny_run: Path) -> None:
    run = read_run(tiny_run)
    assert (run.status, run.name, run.alive) == ("finished", "tiny", False)
    assert run.summary["status"] == "finished"


def test_the_artifact_is_there_whatever_the_test_meets(tiny_recipe: Path, tmp_path: Path) -> None:
    class Failing(Keeping):
        def evaluated(self, event: Evaluated) -> None:
            raise DataError("a picture of the test split is broken.")

    with pytest.raises(DataError, match="broken"):
        train(load_recipe(tiny_recipe), runs=tmp_path / "runs", callbacks=[Failing()])
    (run,) = list_runs(tmp_path / "runs")
    assert run.status == "failed"
    assert metrics_of(run.path / "artifact") == {"validation"}
    result = train(load_recipe(tiny_recipe), runs=tmp_path / "runs", resume=True)
    assert metrics_of(result.artifact) == {"validation", "test"}


def metrics_of(artifact: Path) -> set[str]:
    """The splits that an artifact has metrics of."""
    return set(json.loads((artifact / "adapter.json").read_text())["metrics"])
