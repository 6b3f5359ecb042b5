"""How the learning rate moves: the registry of schedules, and what applies one to an optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from annotated_types import Interval
from torch.optim import Optimizer

from adaptkit import kinds
from adaptkit.kinds import Kinds, Natural
from adaptkit.training.keywords import bind, keywords_of

# A schedule is a function that gives a factor. Its first argument says what it follows:
#   step    that comes (from 0), after the warm-up: the recipe's learning rate is multiplied by the factor there
#   scores  of all validations after the warm-up, more is better: the rate is multiplied by the factor from now on
# Its further arguments are its keys in the recipe, but for two that the training gives if it has them: `warmup`, the
# steps of the warm-up, which is linear in every schedule, and `total`, the steps of the whole training.
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
    scores: Sequence[float],
    *,
    factor: Annotated[float, Interval(gt=0, lt=1)] = 0.5,
    patience: Natural = 2,
) -> float:
    """`factor` after more than `patience` validations in a row without a better score, which are counted anew then.

    Args:
        factor: what the learning rate is multiplied by.
        patience: epochs without gain that are waited.
    """
    best, stale = -math.inf, 0
    for score in scores:
        waited = 0 if stale > patience else stale
        best, stale = (score, 0) if score > best else (best, waited + 1)
    return factor if stale > patience else 1.0


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
        schedule = SCHEDULES.named(name, where="train.schedule")
        self._optimizer, self._warmup = optimizer, warmup_steps(warmup, total)
        self._follows_scores = keywords_of(schedule)[0] == "scores"
        offered = {"warmup": lambda: self._warmup, "total": lambda: total}
        self._schedule = bind(schedule, keys, offered, skip=1, where="train.schedule")
        self._step, self._scores = 0, []
        self._base = [group["lr"] for group in optimizer.param_groups]
        self._apply()

    @property
    def lr_factor(self) -> float:
        """What the learning rate is multiplied by in the next step."""
        if self._step < self._warmup:
            return (self._step + 1) / self._warmup
        return 1.0 if self._follows_scores else self._schedule(self._step)

    @property
    def lr(self) -> float:
        """The rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def after_step(self) -> None:
        """Once per optimizer step."""
        self._step += 1
        self._apply()

    def after_validation(self, score: float | None) -> None:
        """Once per validation, with a score of which more is better; None: it is undefined, and counts for nothing."""
        if self._follows_scores and score is not None and self._step >= self._warmup:
            self._scores.append(score)
            factor = self._schedule(self._scores)
            self._base = [lr * factor for lr in self._base]
            self._apply()

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step, "scores": self._scores, "base": self._base}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._step, self._scores, self._base = state["step"], state["scores"], state["base"]
        self._apply()

    def _apply(self) -> None:
        factor = self.lr_factor
        for group, lr in zip(self._optimizer.param_groups, self._base, strict=True):
            group["lr"] = lr * factor


def warmup_steps(warmup: float, total: int) -> int:
    """A share of all steps if below 1, else a number of steps."""
    return round(warmup * total) if 0 < warmup < 1 else int(warmup)
