"""The gated multimodal unit, as published: gates decide how much of each modality goes into the joint vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from adaptkit.adapters.base import Shape, check_positive
from adaptkit.errors import SiteError
from adaptkit.fusions.base import FUSIONS, Fusion
from adaptkit.kinds import Count
from adaptkit.sides import Side

# B batch, E width of a stream, W width of the result


@FUSIONS.register("gmu")
class GatedUnit(Fusion):
    """Gated multimodal unit over the streams' vectors (Arevalo et al. 2017).

    With h_i = tanh(W_i x_i), without biases:

        "tied", two streams   z = sigmoid(W_z [x_1; x_2]),           h = z*h_1 + (1 - z)*h_2
        "untied"              z_i = sigmoid(W_zi [x_1; ..; x_k]),    h = z_1*h_1 + .. + z_k*h_k

    An absent modality contributes exactly 0: tanh(W_i 0) = 0.

    Args:
        streams: shapes of what meets.
        width: W, of the hidden vectors and of the result.
        gates: "tied" is the paper's unit for two streams, "untied" its unit for more. Default: whichever belongs to
            their number.
        norm: LayerNorm on every vector first: tanh neither saturates nor stays at 0. Published: none.

    Raises:
        SiteError: tied gates for more than two streams.
    """

    paper = "Arevalo et al. 2017 (arXiv 1702.01992)"
    formula = "sum_m(E_m·W) + G·W·sum_m(E_m), G = 1 tied, else one per stream; with norm + sum_m(2·E_m)"

    def __init__(
        self,
        streams: Mapping[str, Shape],
        *,
        width: Count = 512,
        gates: Literal["tied", "untied"] | None = None,
        norm: bool = True,
    ) -> None:
        super().__init__(streams, width, norm=norm)
        check_positive(width=width)
        widths = {name: shape.width for name, shape in streams.items()}
        if gates == "tied" and len(widths) != 2:
            raise SiteError(f"one tied gate weighs two streams, not {len(widths)}.", hint='Write gates = "untied".')
        self.tied = len(widths) == 2 and gates != "untied"
        self.hidden = nn.ModuleDict({name: nn.Linear(e, width, bias=False) for name, e in widths.items()})
        self.gate = nn.Linear(sum(widths.values()), width if self.tied else width * len(widths), bias=False)

    def forward(self, streams: Mapping[str, Side]) -> Tensor:
        xs = [x for x, _ in self.vectors(streams)]
        hs = [torch.tanh(hidden(x)) for hidden, x in zip(self.hidden.values(), xs, strict=True)]  # (B, W) each
        z = self.gates(torch.cat(xs, dim=1))
        if self.tied:
            return z * hs[0] + (1 - z) * hs[1]
        return (torch.stack(hs, dim=1) * z.unflatten(1, (len(hs), -1))).sum(1)  # (B, k, W) -> (B, W)

    def gates(self, joined: Tensor) -> Tensor:
        """(B, sum E) -> (B, G·W)."""
        return torch.sigmoid(self.gate(joined))
