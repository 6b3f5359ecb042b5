"""How the learning rate moves: the registry of schedules, and what applies one to an optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from annotated_types import Interval
from torch.optim import Optimizer

from adaptkit import kinds
from adaptkit.kinds import Kinds
from adaptkit.training.keywords import bind

# A schedule is a function from a step (from 0) that follows the warm-up to what the learning rate is multiplied by
# there. Its further arguments are its keys in the recipe, but for three that the training gives if it has them:
#   warmup  steps of the warm-up, which is linear in every schedule
#   total   steps of the whole training
#   scores  (steps made, score or None) of every validation so far, more is better
SCHEDULES: Kinds[Callable[..., float]] = kinds.SCHEDULES


@SCHEDULES.register("constant")
def constant(step: int) -> float:
    """The learning rate stays as it is: 1."""
    return 1.0


@SCHEDULES.register("linear")
def linear(step: int, *, warmup: int, total: int) -> float:
    """Falls to 0 in a straight line: 1 - s.

    With the share s = (step - warmup) / (total - warmup) of what follows the warm-up.
    """
    return 1.0 - min(1.0, (step - warmup) / max(1, total - warmup))


@SCHEDULES.register("cosine")
def cosine(step: int, *, warmup: int, total: int) -> float:
    """Falls to 0 along a cosine: (1 + cos(pi s)) / 2 with the share s of `linear`."""
    share = min(1.0, (step - warmup) / max(1, total - warmup))
    return 0.5 * (1.0 + math.cos(math.pi * share))


@SCHEDULES.register("plateau")
def plateau(
    step: int,
    *,
    warmup: int,
    scores: Sequence[tuple[int, float | None]],
    factor: Annotated[float, Interval(gt=0, lt=1)] = 0.5,
    patience: Annotated[int, Interval(ge=0)] = 2,
) -> float:
    """Once more `factor` whenever more than `patience` validations in a row after the warm-up gave no better score.

    Args:
        factor: what the learning rate is multiplied by.
        patience: epochs without gain that are waited.
    """
    found, best, stale = 1.0, -math.inf, 0
    for at, score in scores:
        if score is None or at < warmup:  # an undefined score counts for nothing
            continue
        best, stale = (score, 0) if score > best else (best, stale + 1)
        if stale > patience:
            found, stale = found * factor, 0
    return found


class LRSchedule:
    """Sets the learning rate after every step and every validation.

    Args:
        optimizer: whose rate is set.
        name: of a registered schedule.
        warmup: steps of linear warm-up, or a share of all steps if below 1. It reaches 1 at step `warmup - 1`, so that
            no step has rate 0.
        total: number of optimizer steps of the whole training.
        keys: of the schedule.

    Raises:
        RecipeError: an unknown schedule or key.
    """

    def __init__(
        self, optimizer: Optimizer, *, name: str = "constant", warmup: float = 0, total: int, **keys: Any
    ) -> None:
        where = "train.schedule"
        self._optimizer = optimizer
        self._base = [group["lr"] for group in optimizer.param_groups]
        self._step, self._scores = 0, []
        self.warmup = warmup_steps(warmup, total)
        offered = {"warmup": lambda: self.warmup, "total": lambda: total, "scores": lambda: self._scores}
        self._schedule = bind(SCHEDULES.named(name, where=where), keys, offered, skip=1, where=where)
        self._apply()

    @property
    def lr_factor(self) -> float:
        """What the learning rate is multiplied by in the next step."""
        if self._step < self.warmup:
            return (self._step + 1) / self.warmup
        return self._schedule(self._step)

    @property
    def lr(self) -> float:
        """The rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def after_step(self) -> None:
        """Once per optimizer step."""
        self._step += 1
        self._apply()

    def after_validation(self, score: float | None) -> None:
        """Once per validation, with a score of which more is better; None where it is undefined."""
        self._scores.append((self._step, score))
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step, "scores": self._scores}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._step = state["step"]
        self._scores[:] = state["scores"]
        self._apply()

    def _apply(self) -> None:
        factor = self.lr_factor
        for group, base in zip(self._optimizer.param_groups, self._base, strict=True):
            group["lr"] = base * factor


def warmup_steps(warmup: float, total: int) -> int:
    """A share of all steps if below 1, else a number of steps."""
    return round(warmup * total) if 0 < warmup < 1 else int(warmup)
