"""The head of a retrieval task: query and item in one space."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

# B batch, D width of the pooled vector, E width of the query, P width of the common space

COLDEST = 0.01  # CLIP's bound on the temperature, which keeps the training stable


class RetrievalHead(nn.Module):
    """Two heads of one kind, one for the item and one for the query, and the temperature as a parameter.

    The temperature is learned as the logarithm of its inverse (CLIP: Radford et al. 2021, section 2.4) and is in the
    query: the product of query and item is what the loss reads, and it changes no rank.

    Args:
        item: (B, D) -> (B, P).
        query: (B, E) -> (B, P).
        temperature: at the start.
    """

    def __init__(self, item: nn.Module, query: nn.Module, *, temperature: float = 0.07) -> None:
        super().__init__()
        self.item, self.query = item, query
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(self, vector: Tensor, query: Tensor) -> Tensor:
        """(B, 2*P): the query of length 1 / temperature, then the item of length 1."""
        scale = self.log_scale.clamp(max=-math.log(COLDEST)).exp()
        return torch.cat([scale * normalize(self.query(query), dim=1), normalize(self.item(vector), dim=1)], dim=1)
