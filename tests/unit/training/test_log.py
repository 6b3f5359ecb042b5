"""metrics.jsonl, and trackers by accelerate's own interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from accelerate import tracking
from accelerate.tracking import GeneralTracker, register_tracker_class

from adaptkit.errors import Diverged, RecipeError, UnavailableError
from adaptkit.recipe import load_recipe
from adaptkit.training import Callback, train
from adaptkit.training.callbacks import StepDone
from adaptkit.training.log import Log, flat


def test_lines_after_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    """The validation of an epoch comes at its last step, where a checkpoint may have been written before it."""
    path = tmp_path / "metrics.jsonl"
    logs = [Log(path, seed) for seed in (0, 1)]
    for log in logs:
        for epoch, step in ((1, 2), (1, 4), (2, 6), (2, 8)):
            log.write("train", epoch=epoch, step=step, values={"loss": 0.5})
            if step in (4, 8):
                log.write("validation", epoch=epoch, step=step, values={"loss": 0.5})
    with path.open("a", encoding="utf-8") as file:
        file.write('{"kind": "tr')

    def lines(seed: int) -> list[tuple[str, int]]:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [(line["kind"], line["step"]) for line in found if line["seed"] == seed]

    logs[1].forget_after(step=4, epochs=0)
    assert len(lines(0)) == 6
    assert lines(1) == [("train", 2), ("train", 4)]
    logs[0].forget_after(step=4, epochs=1)
    assert lines(0) == [("train", 2), ("train", 4), ("validation", 4)]


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A tracker that accelerate is told of, and what reaches it."""
    seen: list[Any] = []
    monkeypatch.setattr(tracking, "LOGGER_TYPE_TO_CLASS", dict(tracking.LOGGER_TYPE_TO_CLASS))

    class StandIn(GeneralTracker):
        name = "standin"
        requires_logging_directory = False

        def __init__(self, run_name: str, **options: Any) -> None:
            super().__init__()
            seen.append(("init", run_name))

        @property
        def tracker(self) -> Any:
            return seen

        def start(self) -> None:
            seen.append("start")

        def store_init_configuration(self, values: dict[str, Any]) -> None:
            seen.append(("config", values))

        def log(self, values: dict[str, Any], step: int | None = None, **options: Any) -> None:
            seen.append((step, values))

        def finish(self) -> None:
            seen.append("finish")

    register_tracker_class(StandIn)
    return seen


def test_a_tracker_gets_every_number_of_every_seed(tiny_recipe: Path, tmp_path: Path, standin: list[Any]) -> None:
    changes = ['train.track=["standin"]', "train.seeds=[3, 4]", "train.epochs=1"]
    result = train(load_recipe(tiny_recipe, changes), runs=tmp_path)
    start = standin.index("start", 1 + standin.index("start")) - 1
    for seed, events in ((3, standin[:start]), (4, standin[start:])):
        assert events[:2] == [("init", "tiny"), "start"]
        kind, config = events[2]
        assert kind == "config"
        assert (config["seed"], config["run"], config["train.batch_size"]) == (seed, str(result.run), 8)
        assert {type(value) for value in config.values()} <= {bool, int, float, str}
        assert events[-1] == "finish"
        lines = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
        told = [
            (line.pop("step"), {f"{line['kind']}/{name}": value for name, value in flat(line).items()})
            for line in lines
            if line["seed"] == seed
        ]
        unsaid = ("kind", "seed", "epoch", "places")
        assert events[3:-1] == [
            (step, {name: value for name, value in line.items() if name.replace(".", "/").split("/")[1] not in unsaid})
            for step, line in told
        ]


def test_trackers_are_finished_whatever_ends_the_run(tiny_recipe: Path, tmp_path: Path, standin: list[Any]) -> None:
    class Failing(Callback):
        def step_done(self, event: StepDone) -> None:
            raise Diverged("of a test")

    with pytest.raises(Diverged):
        train(load_recipe(tiny_recipe, ['train.track=["standin"]']), runs=tmp_path, callbacks=[Failing()])
    assert standin[-1] == "finish"


@pytest.mark.filterwarnings("ignore")  # of TensorBoard's own imports
@pytest.mark.parametrize("change", ["train.tensorboard=true", 'train.track=["tensorboard"]'])
def test_tensorboard_by_either_word(tiny_recipe: Path, tmp_path: Path, change: str) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train(load_recipe(tiny_recipe, ["train.epochs=1", change]), runs=tmp_path)
    events = EventAccumulator(str(result.run / "tensorboard" / "seed0")).Reload()
    assert {"train/loss", "train/lr", "validation/accuracy"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/loss")] == [2, 4, 6]


def test_an_unknown_tracker_is_told_before_anything_is_made(tiny_recipe: Path, tmp_path: Path) -> None:
    recipe = load_recipe(tiny_recipe, ['train.track=["wandbb"]'])
    with pytest.raises(RecipeError, match=r"--set train.track.*no tracker 'wandbb'. Did you mean \"wandb\""):
        train(recipe, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("change", "package"),
    [
        ('train.track=["wandb"]', "wandb"),
        ('train.track=["tensorboard"]', r'"adaptkit\[tensorboard\]"'),
        ("train.tensorboard=true", r'"adaptkit\[tensorboard\]"'),
    ],
)
def test_a_missing_package_is_named_before_anything_is_made(
    tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, package: str
) -> None:
    monkeypatch.setattr(tracking, "get_available_trackers", list)
    with pytest.raises(UnavailableError, match=f"is not installed. pip install {package}"):
        train(load_recipe(tiny_recipe, [change]), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
