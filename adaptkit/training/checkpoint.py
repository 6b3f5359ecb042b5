"""The two checkpoints of a training: `last.safetensors` to continue from, `best.safetensors` to keep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor

from adaptkit.atomic import write_bytes
from adaptkit.errors import Diverged, RunError
from adaptkit.training.interrupt import StopRequested
from adaptkit.training.packing import all_finite, pack, unpack
from adaptkit.training.rng import restore_rng_state, rng_state
from adaptkit.training.schedules import LRSchedule

LAST = "last.safetensors"
BEST = "best.safetensors"
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
        idle: `NAME at PATH` of adapters without any gradient in the first step; None before it.
    """

    model: Any
    optimizer: AcceleratedOptimizer
    schedule: LRSchedule
    accelerator: Accelerator
    checkpoints: Path
    progress: Progress = field(default_factory=Progress)
    idle: tuple[str, ...] | None = None

    def save(self) -> None:
        """Write `last.safetensors`.

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
        _write(self.checkpoints / LAST, state)

    def resume(self) -> None:
        """Take up the last checkpoint; at the very start, write the first one."""
        state = read_checkpoint(self.checkpoints / LAST)
        if state is None:
            self.save()
            return
        self.progress = Progress(**state["progress"])
        self.model.load_trainable_state(state["trainable"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        restore_rng_state(state["rng"])

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
    """

    trainable: dict[str, Tensor]
    metrics: dict[str, float | None]
    warnings: tuple[str, ...] = ()


def save_best(folder: Path, best: Best) -> None:
    """Write the best validation so far.

    Raises:
        Diverged: the parameters are not finite; the file that was there stays.
    """
    _write(folder / BEST, {"trainable": best.trainable, "metrics": best.metrics, "warnings": best.warnings})


def load_best(folder: Path) -> Best:
    """What `save_best` wrote.

    Raises:
        RunError: there is none, or it is not readable.
    """
    state = read_checkpoint(folder / BEST)
    if state is None:
        raise RunError("is missing.", where=str(folder / BEST), hint="Train again without --resume.")
    return Best(**state)


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The content of a checkpoint; None if there is none yet.

    Raises:
        RunError: it is not readable.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"cannot be read: {error.strerror}.", where=str(path)) from error
    return unpack(content, where=str(path))


def _write(path: Path, state: dict[str, Any]) -> None:
    if not all_finite(state["trainable"]):
        kept = f" The last good state is kept in {path}." if path.exists() else ""
        raise Diverged(f"the trained parameters are not finite any more.{kept}", hint=LOWER_RATE)
    write_bytes(path, pack(state))
