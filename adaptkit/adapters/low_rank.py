"""Bottleneck adapters whose projections have low rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from adaptkit.adapters.base import ADAPTERS, Shape, check_positive
from adaptkit.adapters.bottleneck import Funnel, units_of, width_read
from adaptkit.errors import SiteError
from adaptkit.kinds import Count, Positive, Share

# B batch, T tokens, D width of the stream, C width of what is read, P bottleneck, R rank

GLOROT_GAIN = 2**0.5


class LowRankLinear(nn.Module):
    """`y = (x L) R + b`: (..., I) -> (..., O) with L (I, rank) and R (rank, O), both Glorot-uniform, gain sqrt 2."""

    def __init__(self, reads: int, writes: int, rank: int) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.empty(reads, rank))
        self.right = nn.Parameter(torch.empty(rank, writes))
        self.bias = nn.Parameter(torch.zeros(writes))
        for factor in (self.left, self.right):
            nn.init.xavier_uniform_(factor, gain=GLOROT_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.left @ self.right + self.bias


@ADAPTERS.register("low_rank")
class LowRank(Funnel):
    """A bottleneck whose down- and up-projection are products of two thin matrices (Karimi Mahabadi et al. 2021).

    VL-Adapter runs it with rank 1. Both factors are applied to the vectors in turn; their product is never formed.

    Identity at init: the right factor of the up-projection is zero.

    Args:
        host: the stream, (B, T, D).
        sides: none.
        rank: R, of both projections.
        reduction_factor: P = width that is read // reduction_factor, unless `bottleneck` is given.
        bottleneck: P, width of the bottleneck.
        activation: "gelu", "gelu_tanh", "relu", "silu", "tanh" or "leaky_relu".
        scale: factor of the adapter's output, or "learned" (one scalar per adapter, starting at 1).
        norm_before: LayerNorm on what the adapter reads.
        norm_after: LayerNorm on what it adds.
        norms: where tasks have copies, each norm is the copy's "own", or one of a place for all "tasks", as published.
        dropout: probability of dropping a bottleneck unit in training.
        init: "identity", or "published" (all factors Glorot-uniform with gain sqrt 2, so not the identity).

    Raises:
        SiteError: the bottleneck would have no units, or the rank exceeds it (a plain bottleneck is smaller then).
    """

    paper = "Karimi Mahabadi et al. 2021; Sung et al. 2022"
    formula = "2·R·(D + P) + P + D"
    needs_sides = (0, 0)
    mixes_tokens = "never"

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        rank: Count = 1,
        reduction_factor: Count = 16,
        bottleneck: Count | None = None,
        activation: str = "gelu",
        scale: Positive | Literal["learned"] = 1.0,
        norm_before: bool = False,
        norm_after: bool = False,
        norms: Literal["own", "tasks"] = "own",
        dropout: Share = 0.0,
        init: Literal["identity", "published"] = "identity",
    ) -> None:
        check_positive(rank=rank)
        units = units_of(host, reduction_factor, bottleneck)
        if rank > units:
            raise SiteError(
                f"rank = {rank} exceeds the bottleneck of {units}.",
                hint=f'Write rank <= {units}, or kind = "bottleneck".',
            )
        up = LowRankLinear(units, host.width, rank)
        if init == "identity":
            nn.init.zeros_(up.right)
        super().__init__(
            host,
            LowRankLinear(width_read(host), units, rank),
            up,
            activation=activation,
            scale=scale,
            norm_before=norm_before,
            norm_after=norm_after,
            norms=norms,
            dropout=dropout,
        )
