"""What every adapter is: a small trainable module that changes what passes its host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.errors import SiteError
from adaptkit.registry import Registry, nearest
from adaptkit.sides import Sides

# The activations of the three systems by the names they use. "gelu" is exact (Wander); Multimodal-Adapters and
# VL-Adapter compute its tanh form.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
    "leaky_relu": functional.leaky_relu,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What an adapter is built for: a stream of vectors.

    Attributes:
        width: D, channels of one vector.
        tokens: T, the longest sequence; None where nothing bounds it.
        in_width: for a projection, the width of what it reads.
    """

    width: int
    tokens: int | None = None
    in_width: int | None = None


class Adapter(nn.Module):
    """Base of all adapters: `forward(h, z, sides) -> h'`.

    A subclass is built from its host's shape, the shapes of its sides, and the recipe's keys as keyword arguments.
    Its class attributes are literals, because `adaptkit list adapters` reads them without importing torch.

    Attributes:
        paper: where the method comes from.
        formula: number of parameters as a formula.
        needs_sides: least and largest number of side inputs (None: no limit).
        mergeable: the adapter can be folded into its host's weight (`delta_weight`).
        reads_input: it reads the input of a projection (weight space) instead of the stream.
        keeps_length: it returns as many tokens as it gets.
        port: how it meets its host; set by surgery.
        shown: what another place showed it in the running forward; None between forwards.
    """

    paper: ClassVar[str]
    formula: ClassVar[str]
    needs_sides: ClassVar[tuple[int, int | None]] = (0, 0)
    mergeable: ClassVar[bool] = False
    reads_input: ClassVar[bool] = False

    keeps_length: bool = True
    port: Any = None
    shown: Tensor | None = None

    def forward(self, h: Tensor, z: Tensor, sides: Sides) -> Tensor:
        """Add the adapter's change to the stream.

        Args:
            h: (B, T, D) the stream.
            z: (B, T, D') what the adapter reads; h itself unless the site or the recipe says otherwise.
            sides: name -> side input, and the mask of the stream.
        """
        return h + self.delta(z, sides)

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        """The change: (B, T, D') -> (B, T, D)."""
        raise NotImplementedError(f"{type(self).__name__} defines neither forward nor delta")

    def delta_weight(self) -> Tensor:
        """For mergeable adapters: (D, D') what is added to the host's weight."""
        raise NotImplementedError(f"{type(self).__name__} is not mergeable")


ADAPTERS: Registry[type[Adapter]] = Registry("adapter kind")


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The activation of this name.

    Raises:
        SiteError: unknown name. (In the published code it fails only in the first forward.)
    """
    if name not in ACTIVATIONS:
        raise SiteError(f"unknown activation {name!r}.", hint=nearest(name, ACTIVATIONS))
    return ACTIVATIONS[name]


def check_positive(**sizes: int) -> None:
    """Raise SiteError unless every width or rank is at least 1."""
    for name, size in sizes.items():
        if size < 1:
            raise SiteError(f"{name} = {size} cannot work.", hint="It must be at least 1.")
