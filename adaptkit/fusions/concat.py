"""Concatenation: the vectors side by side."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from adaptkit.adapters.base import Shape, check_positive
from adaptkit.fusions.base import FUSIONS, ProjectedFusion
from adaptkit.kinds import Count, Depth
from adaptkit.sides import Side

# B batch, E width of a stream, P width they are projected to, W width of the result


@FUSIONS.register("concat")
class Concat(ProjectedFusion):
    """The vectors side by side: [x_1; ..; x_k], or each projected first: [P_1 x_1 + b_1; ..; P_k x_k + b_k].

    An absent modality is a vector of zeros, projected or not.

    Args:
        streams: shapes of what meets.
        width: P, every vector is projected to it. Default: they stay as they are.
        repeat: how often the result stands side by side. With Wander at "fusion" its first token so takes the place of
            each modality in front of a head that was trained on all of them, as published for CMU-MOSI.
        norm: LayerNorm on every vector first, so that streams of any scale weigh alike; one alone stays as it is.
    """

    paper = "late fusion by concatenation; no source of its own"
    formula = "with norm, sum_m(2·E_m); with width, + sum_m(E_m·P + P)"
    least = 1

    def __init__(
        self, streams: Mapping[str, Shape], *, width: Count | None = None, repeat: Depth = 1, norm: bool = True
    ) -> None:
        check_positive(repeat=repeat)
        widths = [shape.width if width is None else width for shape in streams.values()]
        super().__init__(streams, repeat * sum(widths), width, norm=norm and len(streams) > 1)
        self.repeat = repeat

    def forward(self, streams: Mapping[str, Side]) -> Tensor:
        return torch.cat(self.projected(streams) * self.repeat, dim=1)  # (B, W)
