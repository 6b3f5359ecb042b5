"""What a training tells while it runs, and how those who are told can end it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins (or continues): `steps` optimizer steps per seed, `trainable` of `total` parameters."""

    run: Path
    name: str
    seeds: tuple[int, ...]
    epochs: int
    steps: int
    trainable: int
    total: int
    device: str
    data: str


@dataclass(frozen=True, slots=True)
class SeedStarted:
    """The training of one seed begins, at `step` if it continues."""

    seed: int
    step: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimizer step of one seed, over so many samples; epoch and step count from 1."""

    seed: int
    epoch: int
    step: int
    steps: int
    loss: float
    lr: float
    samples: int = 0


@dataclass(frozen=True, slots=True)
class Validated:
    """A validation at the end of an epoch; `best` if it is the best so far.

    `changes`: adapter -> rms(change) / rms(stream), the root mean square over its places.
    """

    seed: int
    epoch: int
    epochs: int
    metrics: Mapping[str, float | None]
    monitor: str
    best: bool
    changes: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A split was evaluated with the best state; `dropped` names the modalities left out."""

    seed: int
    split: str
    dropped: tuple[str, ...]
    metrics: Mapping[str, float | None]
    monitor: str


class Callback:
    """Receives the events of a training in order. Override what is of interest; the rest is silent.

    `step_done` and `validated` may return True: the training of this seed then ends there as by early stopping, with a
    validation, the test splits and an artifact. Any of them may raise `StopRequested`, which ends the run as Ctrl-C
    does: the state is saved, and `resume` continues. Any other exception is a failure of the run, and passes through.
    """

    def run_started(self, event: RunStarted) -> None:
        """Before the first seed."""

    def seed_started(self, event: SeedStarted) -> None:
        """Before the first step of a seed."""

    def step_done(self, event: StepDone) -> bool | None:
        """After every optimizer step."""

    def validated(self, event: Validated) -> bool | None:
        """After every validation."""

    def evaluated(self, event: Evaluated) -> None:
        """After every split of the final evaluation."""

    def note(self, text: str) -> None:
        """Something a user should know: early stopping, a metric that is undefined."""

    def run_finished(self, run: Path, seconds: float) -> None:
        """After everything is written; not called when the run ends early."""

    def close(self) -> None:
        """Always the last call, also when the run ends early."""


class Callbacks(Callback):
    """Several as one: each is told of every event, in their order; True where one of them returned it."""

    def __init__(self, each: Iterable[Callback]) -> None:
        each = tuple(each)
        for event in (name for name in vars(Callback) if not name.startswith("_")):
            setattr(self, event, partial(_tell, [getattr(callback, event) for callback in each]))


def _tell(methods: Iterable[Callable[..., Any]], *told: Any) -> bool:
    return any([bool(method(*told)) for method in methods])  # noqa: C419 - all are told


def written(metrics: Mapping[str, float | None], monitor: str) -> str:
    """The loss and what is monitored: `loss 0.4120  accuracy 0.8740`; an undefined metric is a dash."""
    shown = dict.fromkeys(("loss", *monitor.split(" + ")))
    values = {name: metrics.get(name) for name in shown}
    return "  ".join(f"{name} -" if value is None else f"{name} {value:.4f}" for name, value in values.items())
