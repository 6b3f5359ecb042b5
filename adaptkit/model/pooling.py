"""From the last hidden states to the one vector that a head reads."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from adaptkit.modalities.pooling import maximum, mean

# B batch, T tokens, D width


def first(sequence: Tensor, mask: Tensor) -> Tensor:
    return sequence[:, 0]


def last(sequence: Tensor, mask: Tensor) -> Tensor:
    """The last token that counts: what a causal model has read everything for."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    index = (positions * mask).argmax(dim=1)  # (B,)
    return sequence[torch.arange(len(sequence), device=sequence.device), index]


def flatten(sequence: Tensor, mask: Tensor) -> Tensor:
    """(B, T, D) -> (B, T·D): the two embeddings of a two-tower model side by side."""
    return sequence.flatten(1)


POOLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "first": first,
    "last": last,
    "mean": mean,
    "max": maximum,
    "flatten": flatten,
}


def pool(name: str, backbone: nn.Module, sequence: Tensor, mask: Tensor) -> Tensor:
    """(B, T, D) hidden states and (B, T) bool mask -> (B, D).

    Args:
        name: "first", "last", "mean", "max", "flatten", or "pooler" for the backbone's own pooler.
    """
    if name == "pooler":
        return backbone.get_submodule("pooler")(sequence)
    return POOLS[name](sequence, mask)
