"""LoRA: a low-rank change of a frozen projection."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.adapters.base import ADAPTERS, Adapter, Shape, check_positive
from adaptkit.errors import SiteError
from adaptkit.sides import Sides

# B batch, T tokens, D width the projection writes, C width it reads, R rank


@ADAPTERS.register("lora")
class LoRA(Adapter):
    """Low-rank adaptation (Hu et al. 2022, eq. 3): `y = W x + (alpha / rank) B A x`, mergeable into W.

    Identity at init: A is Kaiming-uniform (a = sqrt 5), B is zero.

    Args:
        host: a projection (`attn.q`, `mlp.up`, ...): (B, T, C) -> (B, T, D).
        sides: none.
        rank: R of B A.
        alpha: the update is scaled by alpha / rank.
        dropout: probability of dropping an input of A in training.

    Raises:
        SiteError: the host is no projection, or the rank exceeds its smaller width (which PEFT takes in silence).
    """

    paper = "Hu et al. 2022"
    formula = "R·(C + D)"
    needs_sides = (0, 0)
    mergeable = True
    reads_input = True

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        rank: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive(rank=rank)
        if host.in_width is None:
            raise SiteError(
                "LoRA changes the weight of a projection, and this site is none.",
                hint='Insert it at "attn.q", "attn.v", "mlp.up", ... or at `path:` of a linear layer.',
            )
        if rank > min(host.width, host.in_width):
            raise SiteError(
                f"rank = {rank} exceeds the smaller width of the projection ({host.in_width} -> {host.width}).",
                hint=f"Write rank <= {min(host.width, host.in_width)}.",
            )
        self.scaling = alpha / rank
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(torch.empty(rank, host.in_width))
        self.B = nn.Parameter(torch.zeros(host.width, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        a = functional.linear(self.dropout(z), self.A)  # (B, T, C) -> (B, T, R)
        return self.scaling * functional.linear(a, self.B)  # (B, T, D)

    def delta_weight(self) -> Tensor:
        """(D, C), what merging adds to the projection's weight."""
        return self.scaling * (self.B @ self.A)
