"""Prompt tuning: trained tokens that a frozen model reads beside its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from adaptkit.adapters.base import ADAPTERS, Adapter, Shape, check_positive
from adaptkit.kinds import Count
from adaptkit.sides import Sides

# B batch, T tokens, D width, L length of the prompt, M width of the re-parametrisation, V rows of the vocabulary


@ADAPTERS.register("prompt")
class Prompt(Adapter):
    """Trained input vectors (Lester et al. 2021): the stack reads L of them besides its own tokens.

    At `embed.in` they come before the word embeddings; in a vision transformer after its patches (VPT-shallow, Jia et
    al. 2022). What the stack returns for them is cut off, so that no length outside changes. Re-parametrised (Li &
    Liang 2021; VL-Adapter), they are `W2 tanh(W1 E + b1) + b2` of an embedding E (L, D).

    Never the identity: the model's own tokens attend to the prompt.

    Args:
        host: the input of a whole stack, (B, T, D).
        sides: none.
        length: L, number of trained tokens.
        reparametrize: M, width of the layer between E and the tokens; None trains the tokens themselves.
        init: "normal" (N(0, 0.02)) or "vocabulary" (rows of the model's word embedding, drawn at random).
        pooled: what stands in the place of the first token when the prompt is cut off, for whoever pools it: its own
            state ("token"), or that of the first trained vector ("trained"), as in PEFT. Before word embeddings only.

    Raises:
        SiteError: a length or width below 1.
    """

    paper = "Lester et al. 2021; Jia et al. 2022"
    formula = "L·D, re-parametrised L·D + 2·D·M + M + D"
    needs_sides = (0, 0)
    mixes_tokens = "never"
    works_on = "sequence"
    identity = False

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        length: Count = 20,
        reparametrize: Count | None = None,
        init: Literal["normal", "vocabulary"] = "normal",
        pooled: Literal["token", "trained"] = "token",
    ) -> None:
        super().__init__()
        check_positive(length=length, reparametrize=1 if reparametrize is None else reparametrize)
        self.length, self.pooled = length, pooled
        self.embedding = nn.Parameter(torch.empty(length, host.width))
        nn.init.normal_(self.embedding, std=0.02)
        self.reparametrization = nn.Identity() if reparametrize is None else mlp(host.width, reparametrize, host.width)
        self.adopts = init == "vocabulary"
        # Drawn here, because an adapter's values depend on the seed that it is built with; the rows come with `adopt`.
        self.draws = torch.rand(length) if self.adopts else None

    def tokens(self) -> Tensor:
        """(L, D), the prompt."""
        return self.reparametrization(self.embedding)

    def forward(self, h: Tensor, z: Tensor, sides: Sides) -> Tensor:
        """The prompt, then the stream: (B, T, D) -> (B, L + T, D). Surgery asks with an empty stream."""
        return torch.cat([self.tokens().to(h.dtype).expand(len(h), -1, -1), h], dim=1)

    def adopt(self, weight: Tensor, bias: Tensor | None) -> None:
        """Start from random rows of the word embedding, given as (D, V)."""
        if self.draws is not None:
            rows = (self.draws * weight.shape[1]).long().to(weight.device)
            self.embedding.data.copy_(weight[:, rows].T)


def mlp(width: int, middle: int, out: int) -> nn.Sequential:
    """`W2 tanh(W1 x + b1) + b2`, as Li & Liang re-parametrise what they train."""
    return nn.Sequential(nn.Linear(width, middle), nn.Tanh(), nn.Linear(middle, out))
