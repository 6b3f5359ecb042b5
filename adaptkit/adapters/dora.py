"""DoRA: LoRA on the direction of a frozen weight, and a trained magnitude of each of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from adaptkit.adapters.base import ADAPTERS, Shape
from adaptkit.adapters.lora import LoRA
from adaptkit.adapters.peft import PeftForm
from adaptkit.adapters.projection import low_rank_weight, per_channel, per_output, project, project_low_rank
from adaptkit.adapters.translated import Translated
from adaptkit.kinds import Count, Positive, Share
from adaptkit.sides import Sides

# B batch, T tokens, D width the projection writes, C width it reads, R rank


@ADAPTERS.register("dora")
class DoRA(LoRA):
    """Weight-decomposed low-rank adaptation (Liu et al. 2024, eq. 5): `W' = m (W + s B A) / ||W + s B A||`.

    The norm is that of each output's row, over all it reads; m starts as the norm of W's rows, and the bias stays as
    it is. In the gradient the norm counts as a constant (section 4.3).

    Identity at init: B is zero (at an embedding A is), so both norms are those of W.

    Args:
        host: a projection (`attn.q`, `mlp.up`, ...): (B, T, C) -> (B, T, D).
        sides: none.
        rank: R of B A.
        alpha: B A is scaled by s = alpha / rank.
        scaling: "rank", or "rank_stabilized" for s = alpha / sqrt(rank).
        dropout: probability of dropping an input of the change in training; costs one more product with W.

    Raises:
        SiteError: as for LoRA.
    """

    paper = "Liu et al. 2024"
    formula = "R·(C + D) + D"
    reads_weight = True
    changes_experts = False
    halves = (("A",), ("B", "m"))

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        rank: Count = 8,
        alpha: Positive = 16.0,
        scaling: Literal["rank", "rank_stabilized"] = "rank",
        dropout: Share = 0.0,
    ) -> None:
        super().__init__(host, sides, rank=rank, alpha=alpha, scaling=scaling, dropout=dropout)
        self.m = nn.Parameter(torch.ones(host.width))

    def adopt(self, weight: Tensor, bias: Tensor | None) -> None:
        with torch.no_grad():
            self.m.copy_(self.norm(weight.to(self.m)))

    def forward(self, h: Tensor, z: Tensor, sides: Sides) -> Tensor:
        """h + (f - 1) W x + f s B A x, with f = m / ||W + s B A||: what W' adds to h = W x + b.

        Args:
            h: (B, T, D) what the projection returned.
            z: (B, T, C) what it read.
            sides: with the host's weight and bias.
        """
        weight, bias = sides.weight, sides.bias
        assert weight is not None, "surgery shows the host's weight to adapters with `reads_weight`"
        if self.training and self.dropout.p:  # as published: the change reads dropped inputs, the host does not
            z = self.dropped(z)
            plain = project(self.host, z, weight)
        else:
            plain = h if bias is None else h - per_channel(self.host, bias)
        factor = per_channel(self.host, self.factor(weight))
        low_rank = self.scaling * project_low_rank(self.host, z, self.A, self.B)
        return h + (factor - 1) * plain + factor * low_rank

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        factor = self.factor(weight).to(weight)
        return per_output(weight, factor) * (weight + self.delta_weight().to(weight)), bias

    def factor(self, weight: Tensor) -> Tensor:
        """(D,), m / ||W + s B A||; 1 where a row has no direction yet, so that a zero row can still learn one."""
        norm = self.norm(weight)
        zero = norm == 0
        return torch.where(zero, 1.0, self.m / (norm + zero))

    def norm(self, weight: Tensor) -> Tensor:
        """(D,), norm of each row of W + s B A, a constant to the gradient."""
        change = self.scaling * low_rank_weight(self.A.detach(), self.B.detach())
        return (weight + change.to(weight)).flatten(1).norm(dim=1)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    def peft(self) -> PeftForm:
        """PEFT's LoRA with `use_dora`. Two on one host are no third one: each reads the weight."""
        form = super().peft()
        assert form is not None, "DoRA has no form for fused experts"
        ones = (1,) * (self.A.dim() - 2)  # of a convolution it is one number for each map: (1, D, 1, ...)
        magnitudes = self.m.view(1, -1, *ones) if ones else self.m
        tensors = {**form.tensors, "lora_magnitude_vector": magnitudes}
        return replace(form, config={**form.config, "use_dora": True}, tensors=tensors, ranks={})

    @classmethod
    def from_peft(cls, form: PeftForm) -> Translated | None:
        return cls.read_peft(form) if form.method == "LORA" and form.option("use_dora", False) else None
