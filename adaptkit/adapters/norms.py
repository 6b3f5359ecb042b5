"""How side inputs are brought to unit scale before an adapter or a fusion reads them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# B batch, T tokens, E width


def vector_norm(width: int) -> nn.Module:
    """LayerNorm of every vector. One of a single channel stays as it is: its norm would be 0, whatever it reads."""
    return nn.LayerNorm(width) if width > 1 else nn.Identity()


class SequenceNorm(nn.Module):
    """Layer norm over a whole sequence: one mean and variance per sample, over all tokens that count and all channels.

    So the rows of a picture keep their brightness relative to each other, which a norm per token would take away.
    One number alone (one token that counts, of one channel) stays as it is: its norm would be 0, whatever it is.

    Args:
        width: E; weight and bias are per channel.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width)), eps

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, E) and (B, T) -> (B, T, E); tokens that do not count hold anything, and get anything."""
        counts = mask.unsqueeze(-1)  # (B, T, 1)
        kept = torch.where(counts, x, 0.0)
        size = (mask.sum(1) * x.shape[-1])[:, None, None]  # (B, 1, 1)
        mean = kept.sum((1, 2), keepdim=True) / size.clamp(min=1)
        centred = torch.where(counts, x - mean, 0.0)
        variance = (centred**2).sum((1, 2), keepdim=True) / size.clamp(min=1)
        normed = torch.where(size > 1, centred * (variance + self.eps).rsqrt(), kept)
        return normed * self.weight + self.bias
