"""Numbers of parameters, in all and those that move."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from torch import nn

from adaptkit.encoders import Encoder


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of parameters; `total` counts every parameter of the adapted model once."""

    total: int
    trainable: int
    backbone: int
    adapters: int
    encoders: int
    heads: int
    towers: int = 0
    fusion: int = 0

    @property
    def percent(self) -> float:
        """Trainable share of the total, in percent."""
        return 100 * self.trainable / self.total

    def as_dict(self) -> dict[str, float]:
        return {**asdict(self), "percent": round(self.percent, 4)}


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def own_size(modules: Iterable[nn.Module], *, moving: bool = False) -> int:
    """Parameters of encoders, projections or heads, without those of the towers in them.

    Args:
        moving: only those that learn.
    """
    return sum(
        parameter.numel()
        for module in modules
        for parameter in (module.own_parameters() if isinstance(module, Encoder) else module.parameters())
        if parameter.requires_grad or not moving
    )
