"""From the vectors of a sample to one, and which vectors of a long sample are kept at all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

# B batch, T tokens, E width, L width of the attention


def mean(vectors: Tensor, mask: Tensor) -> Tensor:
    """(B, T, E), (B, T) -> (B, E), over the tokens that count; zeros where none does."""
    kept = torch.where(mask[:, :, None], vectors, 0)
    return kept.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def maximum(vectors: Tensor, mask: Tensor) -> Tensor:
    """(B, T, E), (B, T) -> (B, E), the highest of each dimension; zeros where no token counts."""
    highest = vectors.masked_fill(~mask[:, :, None], -torch.inf).amax(1)
    return torch.where(mask.any(1, keepdim=True), highest, 0)


def first(vectors: Tensor, mask: Tensor) -> Tensor:
    """(B, T, E), (B, T) -> (B, E), the first token that counts: padding may stand before it."""
    index = mask.int().argmax(1)  # (B,)
    chosen = vectors.gather(1, index[:, None, None].expand(-1, 1, vectors.shape[2]))[:, 0]
    return torch.where(mask.any(1, keepdim=True), chosen, 0)


POOLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mean": mean, "max": maximum, "first": first}


class AttentionPool(nn.Module):
    """A mean weighted by a learned query (Ilse et al. 2018, "Attention-based deep multiple instance learning", eq. 8).

        a = softmax(w^T tanh(V h_t + b)),  z = sum_t a_t h_t

    At the start w is zero, so that it is the mean.

    Args:
        width: E.
        hidden: L, width of the attention; 128 in the paper.
    """

    def __init__(self, width: int, *, hidden: int = 128) -> None:
        super().__init__()
        self.project = nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """(B, T, E), (B, T) -> (B, E); zeros where no token counts."""
        vectors = torch.where(mask[:, :, None], vectors, 0)
        scores = self.score(torch.tanh(self.project(vectors)))[:, :, 0]  # (B, T)
        # Finite, so that a sample without any token gives no NaN; its vectors are zeros already.
        weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(1)
        return (weights[:, :, None] * vectors).sum(1)


def kept(length: int, limit: int | None, keep: str) -> np.ndarray:
    """Which of `length` tokens survive a limit: increasing indices, at most `limit` of them.

    Args:
        keep: "first", "last", "middle", or "even": the middles of `limit` equal parts.
    """
    if limit is None or length <= limit:
        return np.arange(length)
    if keep == "even":
        return ((np.arange(limit) + 0.5) * length / limit).astype(np.int64)
    start = {"first": 0, "last": length - limit, "middle": (length - limit) // 2}[keep]
    return np.arange(start, start + limit)
