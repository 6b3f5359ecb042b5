"""AdapterFusion: what several adapters of one place would change, combined token by token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from adaptkit.adapters import base
from adaptkit.adapters.base import ADAPTERS, Adapter, Shape, check_positive
from adaptkit.errors import SiteError
from adaptkit.kinds import Count, Positive, Share
from adaptkit.sides import Sides

# B batch, T tokens, D width, M members, P bottleneck, G gates


@ADAPTERS.register("adapter_fusion")
class AdapterFusion(Adapter):
    """Attention (or gates) over the changes of other adapters of the same place (Pfeiffer et al. 2021).

    The members leave the stream alone; with u_k their changes, (B, T, D), for every token:

        "attention"   a = softmax_k( dropout( (Wq h + bq) . (Wk u_k + bk) ) / temperature ),  h + sum_k a_k Wv u_k
        "gmu"         b_k = act(down_k(norm_k(u_k))),  h + up(mix),  gates and mix as in the kind "gmu", over the b_k

    Identity as long as its members are: a fresh one with fresh members changes nothing. With trained members the
    attention starts near the mean of their changes (Wv starts as the identity plus 1e-6), the gates with random
    projections of them, which suits members that are trained already.

    Without dropout softmax does not see bk, so it is frozen then; it is there because published weights have it.

    Args:
        host: the stream, (B, T, D).
        sides: the members, each of width D.
        form: "attention" (Pfeiffer et al.) or "gmu" (gated multimodal unit over the members).
        temperature: divides the scores of the attention.
        dropout: probability of dropping a score, before softmax, in training.
        bottleneck: P, width of the gated unit.
        activation: of the gated unit; the published code computes the tanh form of GELU.

    Raises:
        SiteError: a member changes a stream of another width.
    """

    paper = "Pfeiffer et al. 2021 (AdapterFusion); Multimodal-Adapters"
    formula = '3·D² + 2·D; "gmu": D·P + D + M·(D·P + 2·D + P) + G·P²·M, G = 1 for two members, else M'
    needs_sides = (2, None)
    mixes_tokens = "never"
    fuses = True

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        form: Literal["attention", "gmu"] = "attention",
        temperature: Positive = 1.0,
        dropout: Share = 0.0,
        bottleneck: Count = 64,
        activation: str = "gelu_tanh",
    ) -> None:
        super().__init__()
        check_members(host, sides)
        check_positive(bottleneck=bottleneck)
        if temperature <= 0:
            raise SiteError(f"temperature = {temperature} cannot divide.", hint="It must be greater than 0.")
        self.members = tuple(sides)
        self.combine = (
            Attention(host.width, temperature, dropout)
            if form == "attention"
            else Gates(host.width, len(sides), bottleneck, activation)
        )

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        return self.combine(z, stacked(self.members, sides, z))  # (B, T, D)


class Attention(nn.Module):
    """softmax over members; values start as the identity, queries and keys as N(0, 0.02)."""

    def __init__(self, width: int, temperature: float, dropout: float) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value = nn.Linear(width, width, bias=False)
        self.dropout, self.temperature = nn.Dropout(dropout), temperature
        for projection in (self.query, self.key):
            nn.init.normal_(projection.weight, std=0.02)
            nn.init.zeros_(projection.bias)
        nn.init.constant_(self.value.weight, 1e-6)
        with torch.no_grad():
            self.value.weight.fill_diagonal_(1.0)
        self.key.bias.requires_grad_(dropout > 0)

    def forward(self, h: Tensor, changes: Tensor) -> Tensor:
        """(B, T, D), (B, T, M, D) -> (B, T, D)."""
        weighed = self.weights(h, changes).unsqueeze(-1) * changes  # (B, T, M, D)
        return self.value(weighed.sum(2))  # sum_k a_k (Wv u_k) = Wv (sum_k a_k u_k)

    def weights(self, h: Tensor, changes: Tensor) -> Tensor:
        """(B, T, M), of every member for every token; they sum to 1."""
        q = self.query(h)  # (B, T, D)
        # q . (Wk u + bk) = (Wk' q) . u + q . bk: one product per token, however many members.
        scores = ((q @ self.key.weight).unsqueeze(2) * changes).sum(-1) + (q @ self.key.bias).unsqueeze(-1)
        return torch.softmax(self.dropout(scores) / self.temperature, dim=-1)


class Gates(nn.Module):
    """A gated multimodal unit over the members' changes. All weights N(0, 0.02), as published; biases zero."""

    def __init__(self, width: int, members: int, bottleneck: int, activation: str) -> None:
        super().__init__()
        self.act = base.activation(activation)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(members))
        self.downs = nn.ModuleList(nn.Linear(width, bottleneck) for _ in range(members))
        self.up = nn.Linear(bottleneck, width)
        self.tied = members == 2
        self.gate = nn.Linear(members * bottleneck, (1 if self.tied else members) * bottleneck, bias=False)
        # Not the identity's zero up-projection: fresh members would then never receive a gradient.
        for layer in (*self.downs, self.up):
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, h: Tensor, changes: Tensor) -> Tensor:
        """(B, T, D), (B, T, M, D) -> (B, T, D). The stream itself takes no part."""
        pairs = zip(self.norms, self.downs, changes.unbind(2), strict=True)
        b = torch.stack([self.act(down(norm(u))) for norm, down, u in pairs], dim=2)  # (B, T, M, P)
        gates = self.gates(b)
        if self.tied:
            gates = torch.cat([gates, 1 - gates], dim=2)
        return self.up((gates * b).sum(2))

    def gates(self, b: Tensor) -> Tensor:
        """(B, T, M, P) -> (B, T, G, P)."""
        return torch.unflatten(torch.sigmoid(self.gate(b.flatten(2))), -1, (-1, b.shape[-1]))


def check_members(host: Shape, members: Mapping[str, Shape]) -> None:
    """Raise SiteError unless all members change a stream like the host's."""
    for name, shape in members.items():
        if shape.width != host.width:
            raise SiteError(
                f"the member {name!r} changes a stream of width {shape.width}, and the host's is {host.width} wide.",
                hint="Members sit at the very site of the adapter that combines them.",
            )


def stacked(members: tuple[str, ...], sides: Sides, like: Tensor) -> Tensor:
    """(B, T, M, D): the members' changes, in the precision of `like`."""
    return torch.stack([sides[name].tensor.to(like.dtype) for name in members], dim=2)
