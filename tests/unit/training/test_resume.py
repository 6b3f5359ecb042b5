"""A training that was interrupted and resumed ends bit for bit where an uninterrupted one ends."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adaptkit.errors import Diverged, Interrupted, RunError
from adaptkit.recipe import Recipe, digest, load_recipe
from adaptkit.training import Callback, list_runs, read_run, train
from adaptkit.training.callbacks import Evaluated, SeedStarted, StepDone, Validated
from adaptkit.training.checkpoint import LAST, read_checkpoint
from adaptkit.training.folder import create_run, set_status
from adaptkit.training.resume import run_to_resume
from tests.unit.training.tensors import tensors

# Everything that has a state: chance in the forward pass, momentum, a schedule, accumulation, logging sums.
STATEFUL = (
    'modality.features.missing="learned"',
    "modality.features.modality_dropout=0.3",
    'train.schedule={name="plateau", warmup=3, patience=0}',
    "train.epochs=3",
    "train.accumulation=2",
    "train.log_every=2",
)


class Interrupting(Callback):
    """Sends Ctrl-C when a given event comes."""

    def __init__(self, kind: str, seed: int, at: int) -> None:
        self.wanted = (kind, seed, at)

    def _see(self, kind: str, seed: int, at: int) -> None:
        if (kind, seed, at) == self.wanted:
            os.kill(os.getpid(), signal.SIGINT)

    def step_done(self, event: StepDone) -> None:
        self._see("step", event.seed, event.step)

    def validated(self, event: Validated) -> None:
        self._see("validated", event.seed, event.epoch)

    def evaluated(self, event: Evaluated) -> None:
        self._see("evaluated", event.seed, len(event.dropped))


def recipe_of(path: Path, *more: str) -> Recipe:
    return load_recipe(path, [*STATEFUL, *more])


def outcome(run: Path) -> dict[str, Any]:
    """What must be equal: every artifact's and checkpoint's bytes, every logged line, every metric."""
    summary = json.loads((run / "summary.json").read_text())
    lines = sorted((run / "metrics.jsonl").read_text().splitlines())
    return {
        "metrics": summary["metrics"],
        "per_seed": summary["per_seed"],
        "lines": lines,
        "tensors": tensors(run),
        "predictions": (run / "predictions" / "test.jsonl").read_bytes(),
    }


@pytest.fixture
def whole(tiny_recipe: Path, tmp_path: Path) -> dict[str, Any]:
    return outcome(train(recipe_of(tiny_recipe), runs=tmp_path / "whole").run)


@pytest.mark.parametrize(
    ("kind", "at"),
    [("step", 1), ("step", 4), ("step", 6), ("step", 9), ("validated", 2), ("evaluated", 0)],
)
def test_bit_for_bit(tiny_recipe: Path, tmp_path: Path, whole: dict[str, Any], kind: str, at: int) -> None:
    runs, recipe = tmp_path / "runs", recipe_of(tiny_recipe)
    with pytest.raises(Interrupted, match="--resume"):
        train(recipe, runs=runs, callbacks=[Interrupting(kind, 0, at)])
    (run,) = list_runs(runs)
    assert run.status == "interrupted"
    result = train(recipe, runs=runs, resume=True)
    assert result.run == run.path
    assert read_run(run.path).status == "finished"
    assert outcome(result.run) == whole


def test_bit_for_bit_across_seeds(tiny_recipe: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tiny_recipe, "train.seeds=[3, 4]", "train.epochs=2")
    expected = outcome(train(recipe, runs=tmp_path / "whole").run)
    with pytest.raises(Interrupted):
        train(recipe, runs=tmp_path / "runs", callbacks=[Interrupting("step", 4, 2)])
    first = list_runs(tmp_path / "runs")[0].path
    done = (first / "seeds" / "3" / "artifact" / "adapter.safetensors").stat().st_mtime_ns
    result = train(recipe, runs=tmp_path / "runs", resume=first)
    assert outcome(result.run) == expected
    assert (first / "seeds" / "3" / "artifact" / "adapter.safetensors").stat().st_mtime_ns == done


def test_interrupted_twice(tiny_recipe: Path, tmp_path: Path, whole: dict[str, Any]) -> None:
    runs, recipe = tmp_path / "runs", recipe_of(tiny_recipe)
    with pytest.raises(Interrupted):
        train(recipe, runs=runs, callbacks=[Interrupting("step", 0, 2)])
    with pytest.raises(Interrupted):
        train(recipe, runs=runs, resume=True, callbacks=[Interrupting("step", 0, 5)])
    assert outcome(train(recipe, runs=runs, resume=True).run) == whole


def test_after_a_crash_that_nothing_could_record(tiny_recipe: Path, tmp_path: Path, whole: dict[str, Any]) -> None:
    """Killed in the second epoch: the first one's checkpoint stands, later log lines are written again."""
    runs, recipe = tmp_path / "runs", recipe_of(tiny_recipe)

    class Crash(Callback):
        def step_done(self, event: StepDone) -> None:
            if event.step == 5:
                shutil.copytree(runs, tmp_path / "crashed")

    train(recipe, runs=runs, callbacks=[Crash()])
    (run,) = list_runs(tmp_path / "crashed")
    assert run.status == "running"
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tr')
    assert outcome(train(recipe, runs=tmp_path / "crashed", resume=True).run) == whole


class Killed(Callback):
    """Copies the runs when a step is done: what a kill -9 at that moment leaves."""

    def __init__(self, runs: Path, copy: Path, step: int) -> None:
        self.runs, self.copy, self.step = runs, copy, step

    def step_done(self, event: StepDone) -> None:
        if event.step == self.step:
            shutil.copytree(self.runs, self.copy)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("sampler", ['"shuffle"', '"sequential"', '{name="balanced", task="answer"}'])
def test_killed_within_an_epoch(tiny_recipe: Path, tmp_path: Path, sampler: str, workers: int) -> None:
    """Of six batches of an epoch, in windows of two, four were used: order, chance, schedule and sums go on there."""
    runs, killed = tmp_path / "whole", tmp_path / "killed"
    changes = (f"train.sampler={sampler}", f"train.workers={workers}", 'train.checkpoint_every="1 step"')
    recipe = recipe_of(tiny_recipe, *changes)
    whole = outcome(train(recipe, runs=runs, callbacks=[Killed(runs, killed, 6)]).run)
    (run,) = list_runs(killed)
    state = read_checkpoint(run.path / "checkpoints" / LAST)
    assert state is not None
    assert (state["progress"]["epoch"], state["progress"]["batch"], state["progress"]["step"]) == (1, 4, 5)
    assert outcome(train(recipe, runs=killed, resume=True).run) == whole


def test_checkpoints_change_nothing(tiny_recipe: Path, tmp_path: Path, whole: dict[str, Any]) -> None:
    for number, every in enumerate(("1 step", "epoch", "0.001 s")):
        recipe = recipe_of(tiny_recipe, f'train.checkpoint_every="{every}"')
        found = outcome(train(recipe, runs=tmp_path / str(number)).run)
        assert {**found, "tensors": None} == {**whole, "tensors": None}
        assert found["tensors"]["checkpoints/last.safetensors"] == whole["tensors"]["checkpoints/last.safetensors"]


@pytest.mark.parametrize("bad_step", [1, 5, 9])
def test_after_a_loss_that_was_not_finite(
    tiny_recipe: Path, tmp_path: Path, whole: dict[str, Any], bad_step: int
) -> None:
    """The bad step drew from the generators (dropout of modalities); resuming draws the same once more."""

    class Broken(Callback):
        steps = 0

        def step_done(self, event: StepDone) -> None:
            self.steps = event.step

    broken = Broken()

    def spoil(module: torch.nn.Module, args: object, output: object) -> object:
        if isinstance(module, torch.nn.Linear) and module.training and broken.steps == bad_step - 1:
            return output * math.nan  # type: ignore[operator]
        return None

    hook = torch.nn.modules.module.register_module_forward_hook(spoil)
    try:
        with pytest.raises(Diverged):
            train(recipe_of(tiny_recipe), runs=tmp_path / "runs", callbacks=[broken])
    finally:
        hook.remove()
    assert list_runs(tmp_path / "runs")[0].status == "diverged"
    assert outcome(train(recipe_of(tiny_recipe), runs=tmp_path / "runs", resume=True).run) == whole


def test_a_damaged_checkpoint_is_told_and_the_one_before_taken(
    tiny_recipe: Path, tmp_path: Path, whole: dict[str, Any]
) -> None:
    runs, killed = tmp_path / "runs", tmp_path / "killed"
    train(recipe_of(tiny_recipe), runs=runs, callbacks=[Killed(runs, killed, 8)])
    last = list_runs(killed)[0].path / "checkpoints" / LAST
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 4
    last.write_bytes(content)
    told: list[str] = []

    class Listening(Callback):
        def note(self, text: str) -> None:
            told.append(text)

    result = train(recipe_of(tiny_recipe), runs=killed, resume=True, callbacks=[Listening()])
    assert outcome(result.run) == whole
    assert any("The checkpoint before it is taken" in text for text in told)


def test_a_validation_is_logged_once(tiny_recipe: Path, tmp_path: Path, whole: dict[str, Any]) -> None:
    """Killed after the line was written and before the checkpoint, with and without one of the same step."""
    for every in ("epoch", "1 step"):
        runs, killed = tmp_path / every / "runs", tmp_path / every / "killed"

        class Killing(Callback):
            def validated(self, event: Validated) -> None:
                if event.epoch == 2:
                    shutil.copytree(runs, killed)  # noqa: B023 - called within the loop

        recipe = recipe_of(tiny_recipe, f'train.checkpoint_every="{every}"')
        train(recipe, runs=runs, callbacks=[Killing()])
        found = outcome(train(recipe, runs=killed, resume=True).run)
        assert found["lines"] == whole["lines"]
        assert found["tensors"] == whole["tensors"]


def test_first_files_that_are_missing_are_written(tiny_recipe: Path, tmp_path: Path) -> None:
    runs, killed = tmp_path / "runs", tmp_path / "killed"
    run = train(recipe_of(tiny_recipe), runs=runs, callbacks=[Killed(runs, killed, 1)]).run
    names = ("recipe.toml", "resolved.toml", "plan.json", "env.json")
    there = killed / run.relative_to(runs)
    for name in names:
        (there / name).unlink()
    (there / "checkpoints" / ".last.safetensors.abc.tmp").write_text("half")
    train(recipe_of(tiny_recipe), runs=killed, resume=True)
    assert all((there / name).read_bytes() == (run / name).read_bytes() for name in names)
    assert not list(there.rglob("*.tmp"))


def test_two_at_once(tiny_recipe: Path, tmp_path: Path, whole: dict[str, Any]) -> None:
    """The second is told; the first is not disturbed."""
    runs = tmp_path / "runs"
    with pytest.raises(Interrupted):
        train(recipe_of(tiny_recipe), runs=runs, callbacks=[Interrupting("step", 0, 2)])
    told: list[str] = []

    class Twice(Callback):
        def step_done(self, event: StepDone) -> None:
            if event.step == 4:
                for again in (True, list_runs(runs)[0].path):
                    with pytest.raises(RunError, match="still going on, in process") as caught:
                        train(recipe_of(tiny_recipe), runs=runs, resume=again)
                    told.append(str(caught.value))

    assert outcome(train(recipe_of(tiny_recipe), runs=runs, resume=True, callbacks=[Twice()]).run) == whole
    assert len(told) == 2


def test_another_version_is_noted(tiny_recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(recipe_of(tiny_recipe), runs=tmp_path, callbacks=[Interrupting("step", 0, 2)])
    path = list_runs(tmp_path)[0].path / "env.json"
    then = json.loads(path.read_text())
    path.write_text(json.dumps({**then, "packages": {**then["packages"], "transformers": "4.0.0"}}))
    told: list[str] = []

    class Listening(Callback):
        def note(self, text: str) -> None:
            told.append(text)

    train(recipe_of(tiny_recipe), runs=tmp_path, resume=True, callbacks=[Listening()])
    assert any(text.startswith("transformers was 4.0.0 before") for text in told)


def test_a_finished_seed_whose_files_are_damaged_is_made_again(tiny_recipe: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tiny_recipe, "train.seeds=[3, 4]", "train.epochs=1")
    runs, killed = tmp_path / "whole", tmp_path / "killed"

    class InSecond(Callback):
        def seed_started(self, event: SeedStarted) -> None:
            if event.seed == 4:
                shutil.copytree(runs, killed)

    run = train(recipe, runs=runs, callbacks=[InSecond()]).run
    first = killed / run.relative_to(runs) / "seeds" / "3"
    for name in ("artifact/adapter.safetensors", "predictions/test.jsonl", "checkpoints/result.json"):
        again = tmp_path / name.replace("/", "-")
        shutil.copytree(killed, again)
        damaged = again / (first / name).relative_to(killed)
        content = bytearray(damaged.read_bytes())
        content[len(content) // 2] ^= 1
        damaged.write_bytes(content)
        assert outcome(train(recipe, runs=again, resume=True).run) == outcome(run)


def test_a_changed_file_is_refused_and_a_touched_one_is_not(tiny_recipe: Path, tiny_data: Path, tmp_path: Path) -> None:
    data, runs = tmp_path / "data", tmp_path / "runs"
    shutil.copytree(tiny_data, data)
    for split in ("train", "validation", "test"):
        lines = [json.loads(line) for line in (data / f"{split}.jsonl").read_text().splitlines()]
        for line in lines:
            np.save(data / f"{line['id']}.npy", np.array(line["features"], dtype=np.float32))
            line["features"] = f"{line['id']}.npy"
        (data / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    tiny_recipe.write_text(tiny_recipe.read_text().replace(tiny_data.as_posix(), data.as_posix()))
    with pytest.raises(Interrupted):
        train(recipe_of(tiny_recipe), runs=runs, callbacks=[Interrupting("step", 0, 1)])
    (data / "train-3.npy").touch()
    with pytest.raises(Interrupted):
        train(recipe_of(tiny_recipe), runs=runs, resume=True, callbacks=[Interrupting("step", 0, 2)])
    vector = np.load(data / "test-5.npy")
    np.save(data / "test-5.npy", vector + 1)
    with pytest.raises(
        RunError, match=r"data has changed since the run was started: .*test-5\.npy has changed\."
    ) as caught:
        train(recipe_of(tiny_recipe), runs=runs, resume=True)
    assert caught.value.code == 4
    assert list_runs(runs)[0].status == "interrupted"  # and not failed: it can be resumed when the file is back
    np.save(data / "test-5.npy", vector)
    train(recipe_of(tiny_recipe), runs=runs, resume=True)


def test_a_second_ctrl_c_leaves_the_last_checkpoint(tiny_recipe: Path, tmp_path: Path) -> None:
    class Twice(Callback):
        def step_done(self, event: StepDone) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="last checkpoint"):
        train(recipe_of(tiny_recipe), runs=tmp_path / "runs", callbacks=[Twice()])
    assert list_runs(tmp_path / "runs")[0].status == "interrupted"


def test_another_recipe_is_refused_with_the_difference(tiny_recipe: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(Interrupted):
        train(recipe_of(tiny_recipe), runs=runs, callbacks=[Interrupting("step", 0, 1)])
    with pytest.raises(RunError, match=r"train\.batch_size was 8 and is 4"):
        train(recipe_of(tiny_recipe, "train.batch_size=4"), runs=runs, resume=True)


def test_other_data_is_refused(tiny_recipe: Path, tiny_data: Path, tmp_path: Path) -> None:
    data, runs = tmp_path / "data", tmp_path / "runs"
    shutil.copytree(tiny_data, data)
    tiny_recipe.write_text(tiny_recipe.read_text().replace(tiny_data.as_posix(), data.as_posix()))
    with pytest.raises(Interrupted):
        train(recipe_of(tiny_recipe), runs=runs, callbacks=[Interrupting("step", 0, 1)])
    lines = (data / "train.jsonl").read_text().splitlines()
    (data / "train.jsonl").write_text("\n".join(reversed(lines)) + "\n")
    with pytest.raises(RunError, match="data has changed"):
        train(recipe_of(tiny_recipe), runs=runs, resume=True)


def test_the_newest_run_of_this_recipe_is_resumed(tiny_recipe: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tiny_recipe)
    fitting = create_run(tmp_path, name="tiny", digest=digest(recipe), data="d")
    create_run(tmp_path, name="tiny", digest="1" * 8, data="d")  # newer, of another recipe
    done = create_run(tmp_path / "done", name="tiny", digest=digest(recipe), data="d")
    done.path.rename(tmp_path / "tiny" / "99999999")
    set_status(read_run(tmp_path / "tiny" / "99999999"), "finished")
    assert run_to_resume(tmp_path, recipe, "d").path == fitting.path


def test_nothing_to_resume(tiny_recipe: Path, tmp_path: Path, tiny_run: Path) -> None:
    with pytest.raises(RunError, match="no unfinished run of 'tiny'"):
        train(recipe_of(tiny_recipe), runs=tmp_path / "runs", resume=True)
    with pytest.raises(RunError, match="finished; there is nothing to resume"):
        train(recipe_of(tiny_recipe), resume=tiny_run)
    with pytest.raises(RunError, match="is not a run folder"):
        train(recipe_of(tiny_recipe), resume=tmp_path)
