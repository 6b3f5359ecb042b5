"""The checkpoints of a training: `last.safetensors` to continue from, `best.safetensors` to keep, and one behind each.

A file that is not what was written is found by its hash. The predecessor of the last one then continues the training
from a little earlier; of the best one there is a copy.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor

from adaptkit.atomic import new_file, unwritable
from adaptkit.errors import Diverged, RunError
from adaptkit.training.interrupt import StopRequested
from adaptkit.training.packing import DamagedCheckpointError, all_finite, pack, unpack
from adaptkit.training.rng import restore_rng_state, rng_state
from adaptkit.training.schedules import LRSchedule

LAST, PREVIOUS = "last.safetensors", "previous.safetensors"
BEST, COPY = "best.safetensors", "best.copy.safetensors"
ROLE = "role"  # in a file: which state it is for
LOWER_RATE = "Lower train.optimizer.lr, set train.clip = 1.0 or a warm-up, or check the inputs for huge values."


@dataclass(slots=True)
class Progress:
    """How far the training of one seed is. It moves with every step.

    Attributes:
        epoch: index of the running epoch; equals the number of epochs that are over.
        batch: batches of this epoch that are used up.
        step: optimizer steps made.
        loss_sum: sum of the losses of the steps since the last line of the log.
        loss_steps: number of those steps.
        best_score: monitor of the best validation so far, higher is better; None before the first one.
        best_epoch: the epoch that reached it, counted from 1; 0 before the first validation.
        reference: score that early stopping compares with: the last one that gained more than `min_delta`.
        stale: validations since then.
        stopped: a callback asked for the training to end; a validation is left.
        finished: nothing is left to train.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0
    best_score: float | None = None
    best_epoch: int = 0
    reference: float | None = None
    stale: int = 0
    stopped: bool = False
    finished: bool = False

    def count(self, batches: int, loss: float) -> None:
        """One more step, made of so many batches."""
        self.batch += batches
        self.step += 1
        self.loss_sum += loss
        self.loss_steps += 1

    def mean_loss(self) -> float:
        """Of the steps since the last line of the log, which ends here."""
        mean = self.loss_sum / self.loss_steps
        self.loss_sum, self.loss_steps = 0.0, 0
        return mean

    def judge(self, score: float | None, min_delta: float) -> bool:
        """Compare the score of this epoch with those before; returns whether it is the best one."""
        best = self.best_epoch == 0 or is_gain(score, self.best_score)
        if best:
            self.best_score, self.best_epoch = score, self.epoch + 1
        if is_gain(score, self.reference, min_delta):
            self.reference, self.stale = score, 0
        else:
            self.stale += 1
        return best


def is_gain(score: float | None, before: float | None, margin: float = 0.0) -> bool:
    """Whether a score is better than the one before by more than the margin; an undefined one never is."""
    return score is not None and (before is None or score > before + margin)


@dataclass(slots=True)
class Training:
    """All that moves while a seed trains, and so all that continuing needs.

    Attributes:
        model: what requires a gradient is trained.
        optimizer: over these parameters.
        schedule: of its learning rate.
        accelerator: device, precision and scaler of the gradients.
        checkpoints: folder of this seed's checkpoints.
        progress: how far it is.
        every: optimizer steps, and seconds, after which the next checkpoint is due within an epoch.
        idle: `NAME at PATH` of adapters without any gradient in the first step; None before it.
        saved: step and time of the last checkpoint.
    """

    model: Any
    optimizer: AcceleratedOptimizer
    schedule: LRSchedule
    accelerator: Accelerator
    checkpoints: Path
    every: tuple[float, float] = (math.inf, math.inf)
    progress: Progress = field(default_factory=Progress)
    idle: tuple[str, ...] | None = None
    saved: tuple[int, float] = field(default_factory=lambda: (0, time.monotonic()))

    def save_if_due(self) -> None:
        """`save` where enough steps were made, or enough time has passed, since the last checkpoint."""
        (step, at), (steps, seconds) = self.saved, self.every
        if self.progress.step - step >= steps or time.monotonic() - at >= seconds:
            self.save()

    def save(self) -> None:
        """Write `last.safetensors`; the one that was there becomes `previous.safetensors`.

        Raises:
            Diverged: the parameters are not finite; the file that was there stays.
            RunError: the folder cannot be written.
        """
        scaler = self.accelerator.scaler
        state = {
            "progress": asdict(self.progress),
            "trainable": self.model.trainable_state(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
            "rng": rng_state(),
        }
        _write(self.checkpoints / LAST, state, before=self.checkpoints / PREVIOUS)
        self.saved = self.progress.step, time.monotonic()

    def resume(self) -> str:
        """Take up the last checkpoint; at the very start, write the first one.

        Returns:
            What a user should know of it; "" if nothing.

        Raises:
            RunError: it is damaged, and so is its predecessor; or the best state is.
        """
        state, told = newest_checkpoint(self.checkpoints)
        if state is None:
            self.save()
            return told
        if state["progress"]["best_epoch"]:
            load_best(self.checkpoints)  # better told now than after the last epoch
        self.progress = Progress(**state["progress"])
        self.model.load_trainable_state(state["trainable"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        restore_rng_state(state["rng"])
        self.saved = self.progress.step, time.monotonic()
        return told

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Save the state where a stop is asked for, or a loss, gradient or parameter is not finite."""
        try:
            yield
        except StopRequested:
            self.save()
            raise
        except Diverged:
            # The bad step was not made, so what the model holds is good, unless the step before broke it.
            with suppress(Diverged):
                self.save()
            raise


@dataclass(frozen=True, slots=True)
class Best:
    """The best validation of a training.

    Attributes:
        trainable: the model's trainable state then.
        metrics: what the validation split gave with it.
        warnings: why a metric is undefined.
        changes: adapter -> path of its host -> rms(change) / rms(stream) in that validation.
    """

    trainable: dict[str, Tensor]
    metrics: dict[str, float | None]
    warnings: tuple[str, ...] = ()
    changes: dict[str, dict[str, float | None]] = field(default_factory=dict)


def save_best(folder: Path, best: Best) -> None:
    """Write the best validation so far, twice: nothing could compute it again.

    Raises:
        Diverged: the parameters are not finite; the files that were there stay.
    """
    for name in (COPY, BEST):
        _write(folder / name, {each.name: getattr(best, each.name) for each in fields(best)})


def load_best(folder: Path) -> Best:
    """What `save_best` wrote.

    Raises:
        RunError: there is none, or neither of the two is readable.
    """
    state, _ = first_whole(folder / BEST, folder / COPY)
    if state is None:
        raise RunError("is missing.", where=str(folder / BEST), hint="Train again without --resume.")
    return Best(**state)


def newest_checkpoint(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The last checkpoint, or its predecessor where it is damaged, and a note about that.

    Where the predecessor had to serve, it takes the place of the last one, so that it is not overwritten.

    Raises:
        RunError: both are damaged, or one cannot be read.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    state, damage = first_whole(last, previous)
    if damage is None:
        return state, ""
    try:
        os.replace(previous, last)
    except OSError as error:
        raise unwritable(last, error) from error
    problem = damage.problems[0]
    return state, f"{problem.where} {problem.message} The checkpoint before it is taken instead."


def first_whole(*paths: Path) -> tuple[dict[str, Any] | None, DamagedCheckpointError | None]:
    """The first of these that is there and is what was written; None if none is there. With what is wrong before it.

    Raises:
        DamagedCheckpointError: there are some, and all are damaged.
        RunError: one cannot be read.
    """
    damage = None
    for path in paths:
        try:
            state = read_checkpoint(path)
        except DamagedCheckpointError as error:
            damage = damage or error
            continue
        if state is not None:
            return state, damage
    if damage is not None:
        raise damage
    return None, None


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The content of a checkpoint; None if there is none yet.

    Raises:
        DamagedCheckpointError: it is not what was written.
        RunError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"cannot be read: {error.strerror}.", where=str(path)) from error
    state = unpack(content, where=str(path))
    if (role := state.pop(ROLE, None)) not in (None, role_of(path)):  # none: written before they said it
        raise DamagedCheckpointError(
            f"is a checkpoint of the {role} state.", where=str(path), hint="Were files exchanged? Put them back."
        )
    return state


def role_of(path: Path) -> str:
    """Which state a file is for, so that one in the place of another is noticed."""
    return "best" if path.name in (BEST, COPY) else "last"


def _write(path: Path, state: dict[str, Any], *, before: Path | None = None) -> None:
    """Replace a checkpoint; the one that was there is kept as `before`."""
    if not all_finite(state["trainable"]):
        kept = f" The last good state is kept in {path}." if path.exists() else ""
        raise Diverged(f"the trained parameters are not finite any more.{kept}", hint=LOWER_RATE)
    with new_file(path, keep=before) as temporary:
        temporary.write_bytes(pack({**state, ROLE: role_of(path)}))
