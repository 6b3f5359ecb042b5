"""LoReFT: a change of the representation within a low-rank subspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.adapters.base import ADAPTERS, Adapter, Shape, check_positive
from adaptkit.errors import SiteError
from adaptkit.kinds import Count, Natural, Share
from adaptkit.sides import Sides

# B batch, T tokens, D width, R rank

linalg: Any = torch.linalg  # it has no types


@ADAPTERS.register("loreft")
class LoReFT(Adapter):
    """Low-rank linear subspace finetuning (Wu et al. 2024, ReFT, eq. 2): `h + Q^T (W h + b - Q h)`.

    The rows of Q (R, D) are orthonormal, so the part of h outside their span stays as it is. They are made so in every
    forward (Cholesky of the Gram matrix of a free matrix), exactly and whatever the optimiser does.

    Identity at init: W = Q, b = 0.

    Args:
        host: the stream, (B, T, D); meant for `block.out`.
        sides: none.
        rank: R, dimension of the subspace.
        first: change only this many tokens from the first one on.
        last: change only this many tokens before the end; padding does not count. Both 0: every token. Not in a causal
            stack, where a token does not know how far the end is.
        form: "loreft", or "direft" (eq. 3: `h + Q^T (W h + b)` with a free Q; identity at init: W = 0).
        dropout: probability of dropping a channel of the change in training.
        init: "identity" or "published" (W and b as torch initialises a linear layer, so not the identity).

    Raises:
        SiteError: the rank exceeds the width, a negative number of tokens, or `last` in a causal stack.
    """

    paper = "Wu et al. 2024"
    formula = "2·D·R + R"
    needs_sides = (0, 0)
    mixes_tokens = "causally"

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        rank: Count = 4,
        first: Natural = 0,
        last: Natural = 0,
        form: Literal["loreft", "direft"] = "loreft",
        dropout: Share = 0.0,
        init: Literal["identity", "published"] = "identity",
    ) -> None:
        super().__init__()
        check_positive(rank=rank)
        if rank > host.width:
            raise SiteError(
                f"rank = {rank} exceeds the width of the stream ({host.width}).", hint=f"Write rank <= {host.width}."
            )
        if min(first, last) < 0:
            raise SiteError(
                f"first = {first}, last = {last} is no choice of tokens.", hint="Count them from 0; both 0 mean all."
            )
        if host.causal and last:
            raise SiteError(
                f"last = {last} would let a token know how many follow it, which this stack hides from it.",
                hint="Write last = 0, with first or without.",
            )
        self.first, self.last, self.form = first, last, form
        self.reads_earlier = host.causal and bool(first)
        self.basis = nn.Parameter(nn.init.orthogonal_(torch.empty(rank, host.width)))
        self.learned = nn.Linear(host.width, rank)
        self.dropout = nn.Dropout(dropout)
        if init == "identity":
            nn.init.zeros_(self.learned.bias)
            with torch.no_grad():
                self.learned.weight.copy_(self.directions() if form == "loreft" else torch.zeros_like(self.basis))

    def directions(self) -> Tensor:
        """(R, D), Q of the equations: for LoReFT with orthonormal rows."""
        if self.form == "direft":
            return self.basis
        gram = self.basis @ self.basis.T  # (R, R)
        return linalg.solve_triangular(linalg.cholesky(gram), self.basis, upper=False)

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        q = self.directions()
        weight = self.learned.weight - q if self.form == "loreft" else self.learned.weight
        change = self.dropout(functional.linear(z, weight, self.learned.bias) @ q)  # (B, T, R) -> (B, T, D)
        if not (self.first or self.last):
            return change
        mask = torch.ones(z.shape[:2], dtype=torch.bool, device=z.device) if sides.mask is None else sides.mask
        return torch.where(chosen(mask, self.first, self.last, sides.before)[..., None], change, 0.0)


def chosen(mask: Tensor, first: int, last: int, before: Tensor | None = None) -> Tensor:
    """(B, T) bool: the first and the last tokens among those that count; `before` (B, P) are the ones ahead of them."""
    from_start = mask.cumsum(1)
    if before is not None:
        from_start = from_start + before.sum(1, keepdim=True)
    from_end = mask.flip(1).cumsum(1).flip(1)
    return mask & ((from_start <= first) | (from_end <= last))
