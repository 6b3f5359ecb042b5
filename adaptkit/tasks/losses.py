"""The losses that `loss = "huber"` or `loss = { kind = "huber", delta = 0.5 }` of a task can name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from adaptkit import kinds
from adaptkit.kinds import Kinds, Positive
from adaptkit.recipe import LossSpec

Loss = Callable[..., Tensor]
L = TypeVar("L", bound=Loss)

# B batch, O outputs, or labels

LOSSES: Kinds[Loss] = kinds.LOSSES


def loss_for(*tasks: str) -> Callable[[L], L]:
    """Decorator below `@LOSSES.register`: which kinds of task a loss is for; none for all.

    A loss gets float32 logits (B, O) and targets as the task encodes them, and gives a scalar, the mean over the batch.
    One with an argument `weights` gets the weights per label that the recipe asks for, (O,) float32, or None; with one
    without it a recipe cannot ask for any. Its keyword-only arguments are its keys.
    """

    def add(loss: L) -> L:
        loss.facts = {"tasks": tasks, "weighted": "weights" in inspect.signature(loss).parameters}
        return loss

    return add


def build_loss(spec: LossSpec) -> Loss:
    """(logits, targets) -> scalar, as `loss = {...}` of a task says."""
    return functools.partial(LOSSES.named(spec.kind), **spec.options)


@LOSSES.register("l1")
@loss_for("regression")
def l1(logits: Tensor, targets: Tensor) -> Tensor:
    """Absolute error, mean over all (B, O)."""
    return F.l1_loss(logits, targets.float())


@LOSSES.register("mse")
@loss_for("regression")
def mse(logits: Tensor, targets: Tensor) -> Tensor:
    """Squared error, mean over all (B, O)."""
    return F.mse_loss(logits, targets.float())


@LOSSES.register("huber")
@loss_for("regression")
def huber(logits: Tensor, targets: Tensor, *, delta: Positive = 1.0) -> Tensor:
    """Half the squared error up to delta, linear above; mean over all (B, O).

    Args:
        delta: error from which it is linear.
    """
    return F.huber_loss(logits, targets.float(), delta=delta)


@LOSSES.register("focal")
@loss_for("classification")
def focal(logits: Tensor, targets: Tensor, weights: Tensor | None = None, *, gamma: Positive = 2.0) -> Tensor:
    """Cross-entropy times (1 - p)^gamma, p the probability of the true label: what is sure counts less.

    Lin et al. 2017, eq. 4 and 5. With weights the mean is weighted, as that of cross-entropy.

    Args:
        gamma: how much less; towards 0 it is cross-entropy.
    """
    log_p = F.log_softmax(logits, dim=1).gather(1, targets[:, None]).squeeze(1)  # (B,)
    each = -((1 - log_p.exp()) ** gamma) * log_p
    share = torch.ones_like(each) if weights is None else weights[targets]  # (B,)
    return (share * each).sum() / share.sum()
