"""Several callbacks as one, and how they end a training."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from adaptkit.errors import Interrupted
from adaptkit.recipe import load_recipe
from adaptkit.training import Callback, StopRequested, list_runs, train
from adaptkit.training.callbacks import Callbacks, Evaluated, StepDone, Validated
from tests.unit.training.tensors import tensors


class Noting(Callback):
    """Writes down every event, under its own name."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.name, self.seen = name, seen

    def __getattribute__(self, event: str) -> Any:
        if event in vars(Callback) and not event.startswith("_"):
            return lambda *told: self.seen.append(f"{event} {self.name}")
        return super().__getattribute__(event)


class Ending(Callback):
    """Returns True, or raises, at one event; counts what it sees."""

    def __init__(self, kind: str, at: int, *, error: type[Exception] | None = None) -> None:
        self.wanted, self.error = (kind, at), error
        self.steps: list[int] = []
        self.epochs: list[int] = []
        self.notes: list[str] = []

    def step_done(self, event: StepDone) -> bool:
        self.steps.append(event.step)
        return self._ends("step", event.step)

    def validated(self, event: Validated) -> bool:
        self.epochs.append(event.epoch)
        return self._ends("validated", event.epoch)

    def evaluated(self, event: Evaluated) -> None:
        self._ends("evaluated", len(event.dropped))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def _ends(self, kind: str, at: int) -> bool:
        if (kind, at) != self.wanted:
            return False
        if self.error is not None:
            raise self.error
        return True


def content(run: Path) -> dict[str, Any]:
    """What an interrupted and resumed run has in common with an uninterrupted one."""
    return {**tensors(run), "lines": (run / "metrics.jsonl").read_text(), "plan": (run / "plan.json").read_text()}


def test_each_is_told_of_every_event_in_order(tiny_recipe: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    train(load_recipe(tiny_recipe), runs=tmp_path, callbacks=(Noting(name, seen) for name in "ab"))
    events = [line[:-2] for line in seen[::2]]
    assert seen == [f"{event} {name}" for event in events for name in "ab"]
    assert events[:3] == ["run_started", "seed_started", "step_done"]
    assert events[-2:] == ["run_finished", "close"]
    assert set(events) | {"note"} == {name for name in vars(Callback) if not name.startswith("_")}


def test_true_of_one_is_true_of_all() -> None:
    event = StepDone(0, 1, 3, 10, 0.5, 0.1)
    ending, other = Ending("step", 3), Ending("step", 0)
    assert Callbacks([ending, other]).step_done(event) is True
    assert other.steps == [3]
    assert not Callbacks([other, Callback()]).step_done(event)


@pytest.mark.parametrize(("kind", "at", "steps"), [("step", 2, 2), ("step", 8, 8), ("validated", 1, 6)])
def test_true_ends_the_training_as_early_stopping_does(
    tiny_recipe: Path, tmp_path: Path, kind: str, at: int, steps: int
) -> None:
    ending = Ending(kind, at)
    result = train(load_recipe(tiny_recipe, ["train.epochs=5"]), runs=tmp_path, callbacks=[ending])
    assert ending.steps == list(range(1, steps + 1))
    assert ending.epochs == list(range(1, -(-steps // 6) + 1))
    assert "stopped early: a callback asked for it" in ending.notes
    assert (result.artifact / "adapter.safetensors").exists()
    lines = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    assert (lines[-1]["kind"], lines[-1]["step"]) == ("validation", steps)


def test_it_ends_one_seed_only(tiny_recipe: Path, tmp_path: Path) -> None:
    ending = Ending("step", 2)
    result = train(load_recipe(tiny_recipe, ["train.seeds=[1, 2]"]), runs=tmp_path, callbacks=[ending])
    assert ending.steps == [1, 2, 1, 2]
    assert [found["steps"] for found in result.per_seed.values()] == [2, 2]


@pytest.mark.parametrize(
    ("kind", "at"), [("step", 1), ("step", 2), ("step", 6), ("validated", 1), ("validated", 2), ("evaluated", 1)]
)
def test_raising_stop_requested_saves_and_resumes_bit_for_bit(
    tiny_recipe: Path, tmp_path: Path, kind: str, at: int
) -> None:
    recipe = load_recipe(tiny_recipe, ['train.schedule={name="plateau", patience=0}', "train.epochs=3"])
    whole = train(recipe, runs=tmp_path / "whole")
    with pytest.raises(Interrupted, match="--resume"):
        train(recipe, runs=tmp_path / "runs", callbacks=[Ending(kind, at, error=StopRequested)])
    assert list_runs(tmp_path / "runs")[0].status == "interrupted"
    assert content(train(recipe, runs=tmp_path / "runs", resume=True).run) == content(whole.run)


def test_what_a_callback_ended_stays_ended_when_the_run_is_resumed(tiny_recipe: Path, tmp_path: Path) -> None:
    """Interrupted in the validation that follows: the epoch is not taken up again."""

    class EndingThenInterrupted(Ending):
        def step_done(self, event: StepDone) -> bool:
            ends = super().step_done(event)
            if ends:
                os.kill(os.getpid(), signal.SIGINT)
            return ends

    recipe = load_recipe(tiny_recipe)
    whole = train(recipe, runs=tmp_path / "whole", callbacks=[Ending("step", 3)])
    with pytest.raises(Interrupted):
        train(recipe, runs=tmp_path / "runs", callbacks=[EndingThenInterrupted("step", 3)])
    assert content(train(recipe, runs=tmp_path / "runs", resume=True).run) == content(whole.run)


def test_the_page_says_what_works(tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of docs/training.md, one after the other."""
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    text = tiny_recipe.read_text().replace('root = "', 'root = "nowhere')
    for ours, theirs in (("question", "plot"), ("features", "poster"), ("answer", "good")):
        text = text.replace(f".{ours}]", f".{theirs}]").replace(f'["{ours}"]', f'["{theirs}"]')
    (tmp_path / "films.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for index, block in enumerate(re.findall(r"```python\n(.*?)```", page, re.DOTALL)):
        exec(block, names)
        (tmp_path / "runs").rename(f"runs-{index}")  # two runs of one second would have one name
    assert set(names["result"].metrics) == {"validation", "test"}
