"""An optimizer: steps by the sign of the gradient."""

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from adaptkit.kinds import OPTIMIZERS, Share


@OPTIMIZERS.register("signs")
class Signs(Optimizer):
    """signSGD with momentum (Bernstein et al. 2018).

    Args:
        momentum: of the gradients.
    """

    def __init__(self, groups: Iterable[Any], *, lr: float, weight_decay: float = 0.0, momentum: Share = 0.9) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in (p for p in group["params"] if p.grad is not None):
                mean = self.state[parameter].setdefault("mean", torch.zeros_like(parameter))
                mean.lerp_(parameter.grad, 1 - group["momentum"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(mean.sign(), alpha=group["lr"])
