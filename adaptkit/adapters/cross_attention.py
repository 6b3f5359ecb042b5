"""Cross-attention adapters: every token of the stream looks through the tokens of the sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.adapters.base import ADAPTERS, Adapter, Shape, check_positive
from adaptkit.adapters.norms import vector_norm
from adaptkit.errors import SiteError
from adaptkit.kinds import Count, Share
from adaptkit.sides import Sides

# B batch, T tokens of the stream, S tokens of all sides together, D width of the stream, E width of a side,
# P bottleneck (width of queries, keys and values), H heads


@ADAPTERS.register("cross_attention")
class CrossAttention(Adapter):
    """Multi-head attention from the stream to sequences (Vaswani et al. 2017; gated as in Alayrac et al. 2022).

    With x = norm(h) and y_m = norm_m(side_m), every side with its own keys and values, joined along their tokens:

        q = Wq x + b,   K = [Wk_1 y_1; ..; Wk_M y_M],   V = [Wv_1 y_1; ..; Wv_M y_M]
        output    h + gate * (Wo concat_heads( softmax(q K^T / sqrt(P / H)) V ) + bo)

    Keys and values have no bias: softmax does not see the one, bo does the work of the other. With one head and
    `norm_sides = false` the sum is that of the attention adapter of Multimodal-Adapters, behind a norm.

    A token that the side's mask leaves out has weight 0, and a sample without any token gets exactly 0. Identity
    at init: Wo is zero, or with `gate = "tanh"` the gate is. Queries and keys learn nothing where there is but one
    token to look at.

    Args:
        host: the stream, (B, T, D).
        sides: one shape per side; its width is E.
        heads: H, which share P evenly.
        bottleneck: P, width of queries, keys and values. Default: D // 4, made a multiple of heads.
        gate: "zero_projection" (output projection zero at first) or "tanh" (times tanh of a scalar that is zero
            at first, as in Flamingo).
        norm_sides: LayerNorm on every side.
        dropout: probability of dropping an attention weight in training.

    Raises:
        SiteError: the heads cannot share the bottleneck.
    """

    paper = "Vaswani et al. 2017; Alayrac et al. 2022 (Flamingo); Multimodal-Adapters"
    formula = "2·D·P + 3·D + P + sum_m(2·E_m·P + 2·E_m), + 1 with a tanh gate"
    needs_sides = (1, None)
    mixes_tokens = "never"
    halves = (("norm", "query", "side_norms", "keys", "values"), ("out",))

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        heads: Count = 4,
        bottleneck: Count | None = None,
        gate: Literal["zero_projection", "tanh"] = "zero_projection",
        norm_sides: bool = True,
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        check_positive(heads=heads)
        width = max(host.width // 4 // heads, 1) * heads if bottleneck is None else bottleneck
        check_positive(bottleneck=width)
        if width % heads:
            raise SiteError(
                f"{heads} heads cannot share a bottleneck of {width}.",
                hint=f"Write bottleneck = {-(-width // heads) * heads}, or other heads.",
            )
        self.heads, self.dropout = heads, dropout
        self.norm = nn.LayerNorm(host.width)
        self.query = nn.Linear(host.width, width)
        self.side_norms = nn.ModuleDict(
            {name: vector_norm(side.width) if norm_sides else nn.Identity() for name, side in sides.items()}
        )
        self.keys = nn.ModuleDict({name: nn.Linear(side.width, width, bias=False) for name, side in sides.items()})
        self.values = nn.ModuleDict({name: nn.Linear(side.width, width, bias=False) for name, side in sides.items()})
        self.out = nn.Linear(width, host.width)
        nn.init.zeros_(self.query.bias)
        nn.init.zeros_(self.out.bias)
        if gate == "zero_projection":
            nn.init.zeros_(self.out.weight)
        self.gate = nn.Parameter(torch.zeros(())) if gate == "tanh" else None

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        q = self.split(self.query(self.norm(z)))  # (B, H, T, P/H)
        keys, values, mask = self.memory(sides)  # (B, S, P) twice, (B, S)
        heard = mask.any(dim=1).view(-1, 1, 1)  # (B, 1, 1)
        # A sample without tokens looks at padding, so that softmax has something to divide by, and is silenced below.
        allowed = mask[:, None, None, :] | ~heard.unsqueeze(1)  # (B, 1, 1, S)
        looked = functional.scaled_dot_product_attention(
            q, self.split(keys), self.split(values), allowed, self.dropout if self.training else 0.0
        )  # (B, H, T, P/H)
        change = self.out(looked.transpose(1, 2).flatten(2)) * heard  # (B, T, D)
        return change if self.gate is None else torch.tanh(self.gate) * change

    def memory(self, sides: Sides) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values (B, S, P) of all sides, each projected by itself, and which of their tokens count (B, S)."""
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for name, norm in self.side_norms.items():
            y = norm(sides[name].counted().to(self.out.weight.dtype))  # (B, T_m, E_m)
            keys.append(self.keys[name](y))
            values.append(self.values[name](y))
        masks = [sides[name].mask for name in self.side_norms]
        return torch.cat(keys, dim=1), torch.cat(values, dim=1), torch.cat(masks, dim=1)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, P) -> (B, H, T, P/H)."""
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)
