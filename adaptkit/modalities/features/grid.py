"""Fewer tokens of the grid that a vision model makes of an image."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from adaptkit.errors import DataError, RecipeError
from adaptkit.kinds import Count
from adaptkit.modalities.token_encoder import ENCODERS, TokenEncoder

# B batch, I images of a sample, S x S cells of the grid of an image, P x P of them after pooling, W width of a feature


@ENCODERS.register("grid_pool")
class GridPool(TokenEncoder):
    """Square grids of features, pooled to P x P cells each by adaptive max pooling (VL-Adapter: 7 x 7 to 6 x 6).

    The cells of an image go by rows from the top left. A sample may hold several images of one size, one after another.

    Args:
        shape: (T, W) of a sample.
        size: S, rows and columns of the grid of an image.
        pool: P; S keeps the grid as it is.

    Raises:
        RecipeError: `max_tokens` of the modality is not that of whole images.
    """

    modality = ("features",)

    def __init__(self, shape: tuple[Any, ...], *, size: Count = 7, pool: Count = 6) -> None:
        super().__init__()
        self.size, self.pool = size, pool
        longest, self.width = shape
        if longest is None or longest % size**2:
            raise RecipeError(
                f"max_tokens = {longest} is not that of images of {size} x {size} features.",
                hint=f"Write max_tokens = {size**2}, or a multiple of it for several images.",
            )
        self.tokens = longest // size**2 * pool**2

    def laid_out(self, array: np.ndarray, where: str) -> np.ndarray:
        """(I·S², W) of (I·S², W), (I, S², W), (S, S, W) or (I, S, S, W)."""
        if prod(array.shape[:-1]) % self.size**2:
            raise DataError(
                f"features of shape {array.shape} are not those of images of {self.size} x {self.size}.",
                where=where,
                hint=f"Give ({self.size**2}, width) for one image, (images, {self.size**2}, width) for several.",
            )
        return array.reshape(-1, array.shape[-1])

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, I·S², W) and (B, I·S²) -> (B, I·P², W) and (B, I·P²). A cell is the largest of what counts in it."""
        missing = -values.shape[1] % self.size**2  # a batch of stand-ins for what is absent has one vector each
        values, mask = functional.pad(values, (0, 0, 0, missing)), functional.pad(mask, (0, missing))
        there = mask.unsqueeze(-1).to(values.dtype)  # (B, T, 1)
        lowest = torch.finfo(values.dtype).min
        pooled = self._pooled(torch.where(mask.unsqueeze(-1), values, lowest))
        counts = self._pooled(there).squeeze(-1).bool()  # (B, I·P²)
        return torch.where(counts.unsqueeze(-1), pooled, 0.0), counts

    def _pooled(self, x: Tensor) -> Tensor:
        """(B, I·S², W) -> (B, I·P², W)."""
        images = x.unflatten(1, (-1, self.size, self.size)).flatten(0, 1).permute(0, 3, 1, 2)  # (B·I, W, S, S)
        cells = functional.adaptive_max_pool2d(images, self.pool).flatten(2).transpose(1, 2)  # (B·I, P², W)
        return cells.unflatten(0, (len(x), -1)).flatten(1, 2)
