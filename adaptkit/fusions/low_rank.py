"""Low-rank multimodal fusion: the tensor of all products, never formed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.adapters.base import Shape, check_positive
from adaptkit.fusions.base import FUSIONS, Fusion
from adaptkit.kinds import Count
from adaptkit.sides import Side

# B batch, E width of a stream, R rank, W width of the result


@FUSIONS.register("low_rank")
class LowRankFusion(Fusion):
    """Low-rank multimodal fusion, LMF (Liu et al. 2018): tensor fusion and a linear layer, at rank R.

        h = sum_r a_r * ( [x_1; 1] F_1[r] ) * .. * ( [x_k; 1] F_k[r] ) + b        (products elementwise)

    The appended 1 keeps the products of fewer streams: an absent modality (x = 0) leaves those of the others. As in
    the authors' code the sum over the rank has weights a. Other than theirs, the appended 1 starts with weight 1: with
    Xavier's 0.1 every modality alone enters at a few percent of its size, and all that is learnt are products.

    Args:
        streams: shapes of what meets.
        width: W, of the result.
        rank: R, number of factors per stream.
        norm: LayerNorm on every vector first: products of unit scale, whatever the streams' own. Published: none.
    """

    paper = "Liu et al. 2018 (arXiv 1806.00064)"
    formula = "R·W·sum_m(E_m + 1) + R + W, with norm + sum_m(2·E_m)"

    def __init__(self, streams: Mapping[str, Shape], *, width: Count = 64, rank: Count = 4, norm: bool = True) -> None:
        super().__init__(streams, width, norm=norm)
        check_positive(width=width, rank=rank)
        self.factors = nn.ParameterDict(
            {name: torch.empty(rank, shape.width + 1, width) for name, shape in streams.items()}
        )
        self.weights = nn.Parameter(torch.empty(1, rank))
        self.bias = nn.Parameter(torch.zeros(width))
        for factor in self.factors.values():
            for of_rank in factor:
                nn.init.xavier_normal_(of_rank)
            nn.init.ones_(factor[:, -1].data)
        nn.init.xavier_normal_(self.weights)

    def forward(self, streams: Mapping[str, Side]) -> Tensor:
        product = None
        for name, (x, _) in zip(self.names, self.vectors(streams), strict=True):
            term = functional.pad(x, (0, 1), value=1.0) @ self.factors[name]  # (B, E + 1) @ (R, E + 1, W) -> (R, B, W)
            product = term if product is None else product * term
        assert product is not None
        return (self.weights @ product.flatten(1)).view(product.shape[1:]) + self.bias  # (B, W)
