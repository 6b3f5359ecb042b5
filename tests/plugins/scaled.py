"""A projection: vectors of unit length, turned into tokens of one learnt size."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.kinds import Positive
from adaptkit.modalities import PROJECTIONS
from adaptkit.modalities.projection import TokenProjection


@PROJECTIONS.register("scaled")
class Scaled(TokenProjection):
    """`s W (x / |x|)`: what a vector says, and not how loudly.

    Args:
        size: s at first.
    """

    def __init__(self, width: int, out: int, tokens: int, *, size: Positive = 1.0) -> None:
        super().__init__()
        self.direction = nn.Linear(width, out, bias=False)
        self.size = nn.Parameter(torch.tensor(float(size)))

    def forward(self, vectors: Tensor, words: Tensor | None = None) -> Tensor:
        return self.size * self.direction(functional.normalize(vectors, dim=-1))  # (B, T, E) -> (B, T, D)
