"""Gated multimodal units inside a bottleneck: modality vectors enter the stream token by token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from adaptkit import pooling
from adaptkit.adapters import base
from adaptkit.adapters.base import ADAPTERS, Adapter, Shape, check_positive
from adaptkit.adapters.bottleneck import initialise
from adaptkit.adapters.norms import vector_norm
from adaptkit.kinds import Count
from adaptkit.sides import Sides

# B batch, T tokens, D width of the stream, E width of a side, M sides, P bottleneck, G gates


@ADAPTERS.register("gmu")
class GMU(Adapter):
    """Gated multimodal unit between down- and up-projection (Arevalo et al. 2017, eq. 3; Multimodal-Adapters).

    With a = act(down(norm(z))) per token and b_m = act(down_m(norm_m(side_m))) per sample:

        one side (tied gate)      g = sigmoid(W [a; b]),     mix = g*a + (1 - g)*b
        more sides (own gates)    g_i = sigmoid(W_i [a; b_1; ..; b_M]),  mix = g_0*a + g_1*b_1 + .. + g_M*b_M
        output                    h + up(mix)

    The classic unit of Arevalo et al. has no norms and biases, its activation is tanh, and its gates (always one
    per input) see what the projections see: g_i = sigmoid(W_i [h; s_1; ..; s_M]).

    A sequence as side is averaged over its tokens. A side without any token (an absent modality under
    `missing = "zero"`) contributes exactly b = 0. Identity at init: the up-projection is zero.

    Args:
        host: the stream, (B, T, D).
        sides: one shape per side; its width is E.
        bottleneck: P, width all inputs are projected to.
        activation: of the projections. Default: "gelu_tanh", as the published code computes it; "tanh" in the
            classic form.
        form: "readme" gives every input its own gate; "published" is the code as shipped, where with three
            sides the last one shares the gate of the one before (its fourth gate is never used); "classic" is
            the unit of Arevalo et al.
        init: "identity" (up-projection zero) or "published" (N(0, 0.02)).
    """

    paper = "Arevalo et al. 2017; Rodriguez et al., Multimodal-Adapters"
    formula = (
        "2·D·P + 3·D + P + sum_m(E_m·P + 2·E_m + P) + G·P²·(M + 1), G = 1 for one side, else M + 1; "
        "classic: 2·D·P + D + sum_m(E_m·P) + (M + 1)·P·(D + sum_m(E_m))"
    )
    needs_sides = (1, None)
    mixes_tokens = "never"
    halves = (("norm", "down", "side_norms", "side_downs", "gate"), ("up",))

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        bottleneck: Count = 64,
        activation: str | None = None,
        form: Literal["readme", "published", "classic"] = "readme",
        init: Literal["identity", "published"] = "identity",
    ) -> None:
        super().__init__()
        check_positive(bottleneck=bottleneck)
        self.classic = form == "classic"
        self.act = base.activation(activation or ("tanh" if self.classic else "gelu_tanh"))
        norm, bias = (nn.Identity, False) if self.classic else (vector_norm, True)
        self.norm = norm(host.width)
        self.down = nn.Linear(host.width, bottleneck, bias)
        self.up = nn.Linear(bottleneck, host.width)
        self.side_norms = nn.ModuleDict({name: norm(side.width) for name, side in sides.items()})
        self.side_downs = nn.ModuleDict({name: nn.Linear(side.width, bottleneck, bias) for name, side in sides.items()})
        inputs = 1 + len(sides)
        self.tied = len(sides) == 1 and not self.classic
        self.shares_last_gate = form == "published" and len(sides) == 3
        gates = 1 if self.tied else inputs - self.shares_last_gate
        seen = sum(x.width for x in (host, *sides.values())) if self.classic else inputs * bottleneck
        self.gate = nn.Linear(seen, gates * bottleneck, bias=False)
        initialise([self.down, *self.linear_sides()], self.up, init)

    def linear_sides(self) -> Iterator[nn.Linear]:
        for down in self.side_downs.values():
            assert isinstance(down, nn.Linear)
            yield down

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        a, b, gates = self.parts(z, sides)
        return self.up(self.mix(a, b, gates))  # (B, T, D)

    def parts(self, z: Tensor, sides: Sides) -> tuple[Tensor, Tensor, Tensor]:
        """What is mixed, and how: a (B, T, P) per token, b (B, M, P) once per sample, gates (B, T, G·P)."""
        a = self.act(self.down(self.norm(z)))  # (B, T, P)
        b = self.project_sides(sides)  # (B, M, P)
        token, others = (z, torch.cat([*self.vectors(sides).values()], dim=1)) if self.classic else (a, b.flatten(1))
        # W [a; b] = W_a a + W_b b: only the first term is per token.
        of_token, of_sides = self.gate.weight[:, : token.shape[-1]], self.gate.weight[:, token.shape[-1] :]
        return a, b, torch.sigmoid(token @ of_token.T + (others @ of_sides.T).unsqueeze(1))

    def vectors(self, sides: Sides) -> dict[str, Tensor]:
        """(B, T_m, E_m) each -> (B, E_m) each."""
        given = {name: sides[name] for name in self.side_downs}
        return {n: pooling.mean(side.tensor, side.mask).to(self.gate.weight.dtype) for n, side in given.items()}

    def project_sides(self, sides: Sides) -> Tensor:
        """(B, T_m, E_m) each -> (B, M, P); exactly 0 where a sample has no token of the side."""
        projected: list[Tensor] = []
        for name, vector in self.vectors(sides).items():
            heard = sides[name].mask.any(dim=1, keepdim=True)  # (B, 1)
            b = self.side_downs[name](self.side_norms[name](vector))
            projected.append(self.act(b) * heard)
        return torch.stack(projected, dim=1)

    def mix(self, a: Tensor, b: Tensor, gates: Tensor) -> Tensor:
        """(B, T, P), (B, M, P), (B, T, G·P) -> (B, T, P)."""
        if self.tied:
            return gates * a + (1 - gates) * b  # (B, M=1, P) spreads over the tokens
        shares = gates.chunk(gates.shape[-1] // a.shape[-1], dim=-1)  # G times (B, T, P)
        if self.shares_last_gate:
            shares = (*shares, shares[-1])
        mixed = shares[0] * a
        for index, share in enumerate(shares[1:]):
            mixed = mixed + share * b[:, index].unsqueeze(1)
        return mixed
