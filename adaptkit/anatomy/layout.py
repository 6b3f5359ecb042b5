"""Streams of any layout as sequences of tokens, and back."""

from __future__ import annotations

from torch import Tensor

from adaptkit.anatomy.site import Layout

# B batch, T tokens, D width, C channels, H height, W width of a map


def as_tokens(x: Tensor, layout: Layout) -> Tensor:
    """As (B, T, D): (T, B, D) and (B, C, T) turned, maps (B, C, H, W) or (B, H, W, C) as (B, H·W, C)."""
    if layout == "tbd" and x.dim() == 3:
        return x.transpose(0, 1)
    if layout == "bchw" and x.dim() > 2:
        return x.flatten(2).transpose(1, 2)
    return x.flatten(1, 2) if layout == "bhwd" and x.dim() == 4 else x


def as_layout(tokens: Tensor, like: Tensor, layout: Layout) -> Tensor:
    """Undo `as_tokens`."""
    if layout == "tbd" and like.dim() == 3:
        return tokens.transpose(0, 1)
    if like.dim() == 2 and tokens.dim() == 3:
        return tokens.flatten(0, 1)
    if layout == "bchw" and like.dim() > 2:
        return tokens.transpose(1, 2).reshape(like.shape)
    return tokens.unflatten(1, like.shape[1:3]) if layout == "bhwd" and like.dim() == 4 else tokens
