"""Several adapters at one place that read the same and add up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from adaptkit.adapters.adapter_fusion import check_members, stacked
from adaptkit.adapters.base import ADAPTERS, Adapter, Shape
from adaptkit.sides import Sides

# B batch, T tokens, D width, M members


@ADAPTERS.register("parallel")
class Parallel(Adapter):
    """Sum or mean of the changes of other adapters of the same place (AdapterHub's Parallel and Average).

    Adapters of one place otherwise run one after the other, each on what the one before it made. Members of a
    `parallel` all read the same stream; with u_k their changes, (B, T, D):

        "sum"   h + sum_k w_k u_k,      "mean"   h + 1/M sum_k w_k u_k

    w_k = 1, or learned scalars that start there. Identity as long as its members are.

    Args:
        host: the stream, (B, T, D).
        sides: the members, each of width D.
        combine: "sum" or "mean" of the changes.
        weights: "fixed" (all 1) or "learned" (one scalar per member).

    Raises:
        SiteError: a member changes a stream of another width.
    """

    paper = "Poth et al. 2023 (AdapterHub)"
    formula = '0; M with weights = "learned"'
    needs_sides = (2, None)
    mixes_tokens = "never"
    fuses = True

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        combine: Literal["sum", "mean"] = "sum",
        weights: Literal["fixed", "learned"] = "fixed",
    ) -> None:
        super().__init__()
        check_members(host, sides)
        self.members = tuple(sides)
        self.scale = 1.0 if combine == "sum" else 1.0 / len(sides)
        self.weights = nn.Parameter(torch.ones(len(sides))) if weights == "learned" else None

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        changes = stacked(self.members, sides, z)  # (B, T, M, D)
        if self.weights is not None:
            changes = changes * self.weights.unsqueeze(-1)
        return self.scale * changes.sum(2)
