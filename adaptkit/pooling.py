"""From a sequence of vectors to one vector, of the tokens that count: for modalities, hidden states and sides.

What a token that does not count holds is never read, be it NaN.
"""

from __future__ import annotations

from collections.abc import Callable

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
    """(B, T, E), (B, T) -> (B, E), the first token that counts: padding may stand before it. Zeros where none does."""
    return token(vectors, mask, mask.int().argmax(1))


def last(vectors: Tensor, mask: Tensor) -> Tensor:
    """(B, T, E), (B, T) -> (B, E), the last token that counts: what a causal model has read everything for."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    return token(vectors, mask, (positions * mask).argmax(1))


def token(vectors: Tensor, mask: Tensor, index: Tensor) -> Tensor:
    """(B, E), the token at `index` (B,) of every sample; zeros where no token counts."""
    chosen = vectors.gather(1, index[:, None, None].expand(-1, 1, vectors.shape[2]))[:, 0]
    return torch.where(mask.any(1, keepdim=True), chosen, 0)


def flatten(vectors: Tensor, mask: Tensor) -> Tensor:
    """(B, T, E) -> (B, T·E): the two embeddings of a two-tower model side by side."""
    return vectors.flatten(1)


POOLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "first": first,
    "last": last,
    "mean": mean,
    "max": maximum,
    "flatten": flatten,
}


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
