"""Multimodal adaptation gate: modalities shift every token of the stream, by no more than a share of its length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from adaptkit.adapters.base import ADAPTERS, Adapter, Shape
from adaptkit.adapters.norms import vector_norm
from adaptkit.errors import SiteError
from adaptkit.kinds import Positive, Share
from adaptkit.sides import Side, Sides

# B batch, T tokens, D width of the stream, E width of a side, M sides

linalg: Any = torch.linalg  # it has no types


@ADAPTERS.register("mag")
class MAG(Adapter):
    """Multimodal adaptation gate (Rahman et al. 2020, eq. 1 to 5).

    With s_m a vector per sample, or as many tokens as the stream has (aligned, token by token):

        g_m = relu( Wg_m [s_m; h] + b_m ),   v = sum_m g_m * (W_m s_m + c_m)
        a = min( beta * |h| / (|v| + 1e-6), 1 ),    output  h + a * v

    with `norm_after` dropout(LN(h + a * v)), as published. A token that the side's mask leaves out, or a sample that
    lacks the side, is not shifted by it.

    Identity at init: W_m and c_m are zero (unless `norm_after` or `init` say otherwise).

    Args:
        host: the stream, (B, T, D).
        sides: one shape per side; its width is E.
        beta: the longest shift, as a share of the token's length. (Multimodal-Adapters has 1e-3.)
        norm_sides: LayerNorm on every side, so that what it adds does not depend on the side's scale; published: none.
        norm_after: LayerNorm on the shifted stream, as published. A fresh one then changes the stream.
        dropout: probability of dropping, in training, of the shift; with norm_after, of the whole stream
            (published: 0.5).
        init: "identity" (W_m and c_m zero) or "published" (all weights N(0, 0.02)).

    Raises:
        SiteError: beta is not positive, or a side has another number of tokens than the stream.
    """

    paper = "Rahman et al. 2020 (MAG-BERT); Multimodal-Adapters"
    formula = "sum_m(D² + 2·E_m·D + 2·D), + sum_m(2·E_m) with norm_sides, + 2·D with norm_after"
    needs_sides = (1, None)
    mixes_tokens = "never"

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        beta: Positive = 1.0,
        norm_sides: bool = True,
        norm_after: bool = False,
        dropout: Share = 0.0,
        init: Literal["identity", "published"] = "identity",
    ) -> None:
        super().__init__()
        if beta <= 0:
            raise SiteError(f"beta = {beta} allows no shift.", hint="It must be greater than 0.")
        self.beta = beta
        self.gates = nn.ModuleDict({n: nn.Linear(side.width + host.width, host.width) for n, side in sides.items()})
        self.values = nn.ModuleDict({name: nn.Linear(side.width, host.width) for name, side in sides.items()})
        self.side_norms = nn.ModuleDict({n: vector_norm(side.width) for n, side in sides.items()} if norm_sides else {})
        self.norm_after = nn.LayerNorm(host.width) if norm_after else None
        self.dropout = nn.Dropout(dropout)
        for gate, value in self.pairs().values():
            for projection in (gate, value):
                nn.init.zeros_(projection.bias)
                if init == "published":
                    nn.init.normal_(projection.weight, std=0.02)
            if init == "identity":
                nn.init.zeros_(value.weight)

    def pairs(self) -> dict[str, tuple[nn.Linear, nn.Linear]]:
        """Side -> its gate and its value projection."""
        found: dict[str, tuple[nn.Linear, nn.Linear]] = {}
        for name, gate in self.gates.items():
            value = self.values[name]
            assert isinstance(gate, nn.Linear)
            assert isinstance(value, nn.Linear)
            found[name] = gate, value
        return found

    def forward(self, h: Tensor, z: Tensor, sides: Sides) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        shifted = h + self.shift(z, sides)
        return shifted if self.norm_after is None else self.dropout(self.norm_after(shifted))

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        return self.shift(z, sides) if self.norm_after is None else self.forward(z, z, sides) - z

    def shift(self, z: Tensor, sides: Sides) -> Tensor:
        """a * v, (B, T, D)."""
        total = torch.zeros_like(z)
        for name, (gate, value) in self.pairs().items():
            s, counts = aligned(name, sides[name], z)  # (B, T or 1, E), (B, T or 1, 1)
            if self.side_norms:
                s = cast(Tensor, self.side_norms[name](s))
            of_side, of_token = gate.weight[:, : s.shape[-1]], gate.weight[:, s.shape[-1] :]
            opened = torch.relu(z @ of_token.T + (s @ of_side.T + gate.bias))  # (B, T, D): W [s; h] = W_s s + W_h h
            total = total + opened * (value(s) * counts)
        lengths: list[Tensor] = [linalg.vector_norm(x, dim=-1, keepdim=True) for x in (z, total)]  # (B, T, 1)
        # (Where v = 0 the published code takes a = 1; so does this, and a * v = 0 in any case.)
        share = (self.beta * lengths[0] / (lengths[1] + 1e-6)).clamp(max=1.0)
        moved = share * total
        return moved if self.norm_after is not None else self.dropout(moved)


def aligned(name: str, side: Side, z: Tensor) -> tuple[Tensor, Tensor]:
    """The side's vectors (B, T or 1, E) in the stream's precision, and which of them count (B, T or 1, 1).

    Raises:
        SiteError: it has neither one vector nor as many as the stream.
    """
    tokens = side.tensor.shape[1]
    if tokens not in (1, z.shape[1]):
        raise SiteError(
            f"the side {name!r} has {tokens} tokens, and the stream has {z.shape[1]}.",
            hint='MAG needs one vector per sample (pool = "mean") or one per token of the stream.',
        )
    return side.counted().to(z.dtype), side.mask.unsqueeze(-1).to(z.dtype)
