"""The two checkpoints of a training: `last.safetensors` to continue from, `best.safetensors` to keep."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from adaptkit.atomic import write_bytes
from adaptkit.errors import Diverged, RunError
from adaptkit.training.packing import all_finite, pack, unpack

LAST = "last.safetensors"
BEST = "best.safetensors"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the training of one seed is.

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
    finished: bool = False


def save_last(folder: Path, progress: Progress, trainable: dict[str, Tensor], engine: dict[str, Any]) -> None:
    """Write everything that continuing needs, in one atomic file.

    Args:
        folder: the checkpoints of one seed.
        progress: where the training is.
        trainable: the model's trainable state.
        engine: state of optimizer, schedule, scaler and random generators.

    Raises:
        Diverged: the parameters are not finite; the file that was there stays.
        RunError: the folder cannot be written.
    """
    _refuse_not_finite(folder / LAST, trainable)
    state = {"progress": asdict(progress), "trainable": trainable, "engine": engine}
    write_bytes(folder / LAST, pack(state))


def load_last(folder: Path) -> tuple[Progress, dict[str, Tensor], dict[str, Any]] | None:
    """What `save_last` wrote, or None if there is no checkpoint yet."""
    state = _read(folder / LAST)
    return None if state is None else (Progress(**state["progress"]), state["trainable"], state["engine"])


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
    _refuse_not_finite(folder / BEST, best.trainable)
    state = {"trainable": best.trainable, "metrics": best.metrics, "warnings": best.warnings}
    write_bytes(folder / BEST, pack(state))


def load_best(folder: Path) -> Best:
    """What `save_best` wrote.

    Raises:
        RunError: there is none, or it is not readable.
    """
    state = _read(folder / BEST)
    if state is None:
        raise RunError("is missing.", where=str(folder / BEST), hint="Train again without --resume.")
    return Best(**state)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"cannot be read: {error.strerror}.", where=str(path)) from error
    return unpack(content, where=str(path))


def _refuse_not_finite(path: Path, trainable: dict[str, Tensor]) -> None:
    if not all_finite(trainable):
        kept = f" The last good state is kept in {path}." if path.exists() else ""
        raise Diverged(f"the trained parameters are not finite any more.{kept}", hint=LOWER_RATE)


LOWER_RATE = "Lower train.optimizer.lr, set train.clip = 1.0 or a warm-up, or check the inputs for huge values."
