"""Tensor fusion: every product of one channel per modality."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from adaptkit.adapters.base import Shape
from adaptkit.errors import SiteError
from adaptkit.fusions.base import FUSIONS, ProjectedFusion
from adaptkit.kinds import Count
from adaptkit.sides import Side

# B batch, E width of a stream, P width they are projected to, W width of the result

# Most numbers per sample, 4 MiB of float32. The published form on CMU-MOSI has 140,481.
MOST = 2**20


@FUSIONS.register("tensor")
class TensorFusion(ProjectedFusion):
    """Tensor fusion, TFN (Zadeh et al. 2017): the outer product [x_1; 1] x .. x [x_k; 1], flattened.

    The appended 1 keeps the products of fewer streams: an absent modality (x = 0) leaves those of the others.

    Args:
        streams: shapes of what meets.
        width: P, every vector is projected to it first. Default: they stay as they are.
        norm: LayerNorm on every vector before that; products of unit scale, whatever the streams' own. Published: none.

    Raises:
        SiteError: the product would have more than 1,048,576 numbers per sample.
    """

    paper = "Zadeh et al. 2017 (arXiv 1707.07250)"
    formula = "0, with width sum_m(E_m·P + P), with norm + sum_m(2·E_m); the head reads prod_m(E_m + 1), or (P + 1)^k"

    def __init__(self, streams: Mapping[str, Shape], *, width: Count | None = None, norm: bool = True) -> None:
        factors = [(shape.width if width is None else width) + 1 for shape in streams.values()]
        super().__init__(streams, math.prod(factors), width, norm=norm)
        if self.out_width > MOST:
            terms = " x ".join(map(str, factors))
            raise SiteError(
                f"the tensor of all products has {terms} = {self.out_width:,} numbers per sample, more than {MOST:,}.",
                hint=f'Write width = {largest(len(factors))} or less in [fusion], or kind = "low_rank".',
            )

    def forward(self, streams: Mapping[str, Side]) -> Tensor:
        xs = self.projected(streams)
        product = torch.ones_like(xs[0][:, :1])  # (B, 1)
        for x in xs:
            product = (product.unsqueeze(2) * functional.pad(x, (0, 1), value=1.0).unsqueeze(1)).flatten(1)
        return product  # (B, W)


def largest(streams: int) -> int:
    """The largest P with (P + 1)^streams <= MOST."""
    width = 1
    while (width + 2) ** streams <= MOST:
        width += 1
    return width
