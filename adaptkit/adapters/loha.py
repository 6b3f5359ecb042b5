"""LoHa: a frozen projection changed by the elementwise product of two low-rank matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from adaptkit.adapters.base import ADAPTERS, Adapter, Shape
from adaptkit.adapters.peft import PeftForm
from adaptkit.adapters.projection import check_no_embedding, check_projection, check_rank, project, weight_shape
from adaptkit.adapters.translated import Translated
from adaptkit.kinds import Count, Positive
from adaptkit.sides import Sides

# D width the projection writes, C what one of its outputs reads (of a convolution, C / groups times its kernel), R rank


# Ends of tensors' names in PEFT's files -> ours.
PEFT_NAMES = {"hada_w1_a": "A1", "hada_w1_b": "B1", "hada_w2_a": "A2", "hada_w2_b": "B2"}


@ADAPTERS.register("loha")
class LoHa(Adapter):
    """Low-rank Hadamard product (Hyeon-Woo et al. 2022, FedPara; Yeh et al. 2024, LyCORIS), mergeable.

    `y = W x + (alpha / rank) ((A1 B1) * (A2 B2)) x`, whose change has a rank of up to R squared.

    Identity at init: B2 is zero, the others Kaiming-uniform (a = sqrt 5).

    Args:
        host: a linear layer or a convolution.
        sides: none.
        rank: R of each of the two products.
        alpha: the update is scaled by alpha / rank.

    Raises:
        SiteError: the host is no such projection, or the rank exceeds the smaller side of its weight.
    """

    paper = "Hyeon-Woo et al. 2022; Yeh et al. 2024"
    formula = "2·R·(C + D)"
    needs_sides = (0, 0)
    mixes_tokens = "never"
    mergeable = True
    reads_input = True
    halves = (("B1", "B2"), ("A1", "A2"))

    def __init__(self, host: Shape, sides: Mapping[str, Shape], *, rank: Count = 8, alpha: Positive = 8.0) -> None:
        super().__init__()
        check_projection(host, "LoHa")
        check_no_embedding(host, "LoHa")
        check_rank(host, rank)
        self.host = host
        self.scaling = alpha / rank
        outputs, *inputs = weight_shape(host)
        self.A1 = nn.Parameter(torch.empty(outputs, rank))
        self.B1 = nn.Parameter(torch.empty(rank, math.prod(inputs)))
        self.A2 = nn.Parameter(torch.empty(outputs, rank))
        self.B2 = nn.Parameter(torch.zeros(rank, math.prod(inputs)))
        for factor in (self.A1, self.B1, self.A2):
            nn.init.kaiming_uniform_(factor, a=math.sqrt(5))

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        return project(self.host, z, self.delta_weight())

    def delta_weight(self) -> Tensor:
        """(D, C, ...), what merging adds to the projection's weight."""
        product = (self.A1 @ self.B1) * (self.A2 @ self.B2)
        return (self.scaling * product).view(weight_shape(self.host))

    def peft(self) -> PeftForm:
        """PEFT's LoHa."""
        rank = self.A1.shape[1]
        tensors = {theirs: getattr(self, ours) for theirs, ours in PEFT_NAMES.items()}
        patterns = {"rank_pattern": "r", "alpha_pattern": "alpha"}
        return PeftForm("LOHA", {"r": rank, "alpha": self.scaling * rank}, tensors, patterns=patterns)

    @classmethod
    def from_peft(cls, form: PeftForm) -> Translated | None:
        if form.method != "LOHA" or not form.tensors.keys() <= PEFT_NAMES.keys():
            return None
        state = {PEFT_NAMES[name]: value for name, value in form.tensors.items()}
        options = {"rank": len(state["B1"]) if "B1" in state else 1, "alpha": form.option("alpha", 8)}
        return Translated(options, state, ("r", "alpha"))
