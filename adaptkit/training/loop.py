"""The training of one seed: epochs of steps, a validation after each, early stopping, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from torch import Tensor

from adaptkit.errors import Diverged
from adaptkit.recipe import Train
from adaptkit.training.batches import Epochs
from adaptkit.training.checkpoint import Best, Progress, load_last, save_best, save_last
from adaptkit.training.engine import Engine
from adaptkit.training.interrupt import Stop, StopRequested
from adaptkit.training.log import Log
from adaptkit.training.report import Reporter, SeedStarted, StepDone, Validated


class Trainable(Protocol):
    """What the loop needs of a model."""

    def trainable_state(self) -> dict[str, Tensor]: ...
    def load_trainable_state(self, state: dict[str, Tensor]) -> None: ...


@dataclass(frozen=True, slots=True)
class Validation:
    """Metrics of the validation split, and the one number (more is better) that chooses the best epoch."""

    metrics: dict[str, float | None]
    monitor: str
    score: float | None
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class SeedTraining:
    """Everything one training works with. `begin` takes up the last checkpoint, if there is one.

    Attributes:
        model: what is trained; the engine holds the same one.
        engine: makes the optimizer steps.
        epochs: gives the batches.
        validate: evaluates the validation split, calling its argument between two batches.
        spec: the recipe's [train] table.
        checkpoints: folder of this seed's checkpoints.
        log: numbers go here.
        report: events go here.
        stop: asked between two steps.
        progress: how far the training is.
    """

    model: Trainable
    engine: Engine
    epochs: Epochs
    validate: Callable[[Callable[[], None]], Validation]
    spec: Train
    checkpoints: Path
    log: Log
    report: Reporter
    stop: Stop
    progress: Progress = field(default_factory=Progress)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training, unless it stops early."""
        return total_steps(self.spec, self.epochs)

    def run(self) -> Progress:
        """Train to the end.

        Raises:
            StopRequested: a stop was asked for; the state is saved.
            Diverged: loss, gradient or parameters are not finite; the last finite state is saved.
            OutOfMemory: a batch does not fit.
        """
        self.report.seed_started(SeedStarted(self.epochs.seed, self.progress.step))
        try:
            while not self.progress.finished:
                self._train_epoch()
                self._end_epoch()
        except StopRequested:
            self._save()
            raise
        except Diverged:
            # The bad step was not made, so what the model holds is good, unless the step before broke it.
            with suppress(Diverged):
                self._save()
            raise
        return self.progress

    def begin(self) -> None:
        """Take up the last checkpoint; at the very start, write the first one. Call it once, before `run`."""
        saved = load_last(self.checkpoints)
        if saved is None:
            self._save()
        else:
            self.progress, trainable, engine = saved
            self.model.load_trainable_state(trainable)
            self.engine.load_state_dict(engine)

    def _train_epoch(self) -> None:
        now = self.progress
        for group in self.epochs.groups(now.epoch, now.batch, self.steps - now.step):
            lr = self.engine.schedule.lr
            first = self.engine.idle is None
            loss = self.engine.step(group)
            if first and self.engine.idle:
                self._tell_idle(self.engine.idle)
            now = self.progress
            self.progress = replace(
                now,
                batch=now.batch + len(group),
                step=now.step + 1,
                loss_sum=now.loss_sum + loss,
                loss_steps=now.loss_steps + 1,
            )
            self._tell_step(loss, lr)
            self.stop.check()

    def _tell_idle(self, adapters: tuple[str, ...]) -> None:
        """An adapter whose host never runs would do nothing, silently; an expert may just not have been chosen."""
        some = ", ".join(adapters[:3]) + (f" and {len(adapters) - 3} more" if len(adapters) > 3 else "")
        self.report.note(f"no gradient in the first step: {some}; the backbone may make no use of these places")

    def _tell_step(self, loss: float, lr: float) -> None:
        now = self.progress
        event = StepDone(self.epochs.seed, now.epoch + 1, now.step, self.steps, loss, lr)
        self.report.step_done(event)
        if now.step % self.spec.log_every == 0 or now.step == self.steps:
            values = {"loss": now.loss_sum / now.loss_steps, "lr": lr}
            self.log.write("train", seed=event.seed, epoch=event.epoch, step=event.step, values=values)
            self.progress = replace(now, loss_sum=0.0, loss_steps=0)

    def _end_epoch(self) -> None:
        result = self.validate(self.stop.check)
        self.engine.schedule.after_validation(result.score)
        now = self.progress
        stopping = self.spec.early_stopping
        best = now.best_epoch == 0 or is_gain(result.score, now.best_score)
        if best:
            save_best(self.checkpoints, Best(self.model.trainable_state(), result.metrics, result.warnings))
            now = replace(now, best_score=result.score, best_epoch=now.epoch + 1)
        if is_gain(result.score, now.reference, stopping.min_delta if stopping else 0.0):
            now = replace(now, reference=result.score, stale=0)
        else:
            now = replace(now, stale=now.stale + 1)
        self._tell_validation(result, best)
        early = stopping is not None and now.stale >= stopping.patience
        finished = early or now.epoch + 1 >= self.spec.epochs or now.step >= self.steps
        if early and now.epoch + 1 < self.spec.epochs:
            self.report.note(f"stopped early: no better {result.monitor} for {now.stale} epochs")
        self.progress = replace(now, epoch=now.epoch + 1, batch=0, finished=finished)
        self._save()

    def _tell_validation(self, result: Validation, best: bool) -> None:
        now, seed = self.progress, self.epochs.seed
        self.log.write(
            "validation",
            seed=seed,
            epoch=now.epoch + 1,
            step=now.step,
            values={**result.metrics, "best": best},
        )
        self.report.validated(Validated(seed, now.epoch + 1, self.spec.epochs, result.metrics, result.monitor, best))

    def _save(self) -> None:
        save_last(self.checkpoints, self.progress, self.model.trainable_state(), self.engine.state_dict())


def is_gain(score: float | None, before: float | None, margin: float = 0.0) -> bool:
    """Whether a score is better than the one before by more than the margin; an undefined one never is."""
    return score is not None and (before is None or score > before + margin)


def total_steps(spec: Train, epochs: Epochs) -> int:
    """Optimizer steps of a training that does not stop early."""
    steps = spec.epochs * epochs.steps_per_epoch
    return steps if spec.max_steps is None else min(steps, spec.max_steps)
