"""Grid features of a vision model as tokens of a language model (VL-T5, VL-BART, VL-Adapter)."""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.errors import DataError

# B batch, N tokens, F width of a feature, D width of the language model, I images of a sample


class VisualEmbedding(nn.Module):
    """Feature, box, image and object embeddings of visual tokens, added up (Cho et al. 2021, VL-T5, section 3.1).

        v = LN(W_f f + b_f) + LN(W_b [box; area] + b_b) + image_i + words_(V-1-o)

    The o-th object takes its vector from the end of the language model's own word table, where VL-T5 appends one
    token for each. Grid features have no boxes: all zeros.

    Args:
        feature_width: F.
        words: the language model's word embedding, V rows of width D. It is not copied, so it stays tied and frozen
            or trained as it is there.
        images: how many images a sample may have.
        normalise: the features and the boxes "each", or their "sum" with the other two, or "none".
        norm: makes the norm of a width: LayerNorm for BART, RMSNorm (eps 1e-6) for T5.
    """

    def __init__(
        self,
        feature_width: int,
        words: nn.Embedding,
        *,
        images: int = 2,
        normalise: Literal["each", "sum", "none"] = "each",
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
    ) -> None:
        super().__init__()
        width, each = words.embedding_dim, normalise == "each"
        self.feature = nn.Linear(feature_width, width)
        self.feature_norm = norm(width) if each else nn.Identity()
        self.box = nn.Linear(5, width)
        self.box_norm = norm(width) if each else nn.Identity()
        self.image = nn.Embedding(images, width)
        self.words = words
        self.norm = norm(width) if normalise == "sum" else nn.Identity()

    def forward(
        self,
        features: Tensor,
        boxes: Tensor | None = None,
        image_ids: Tensor | None = None,
        object_ids: Tensor | None = None,
    ) -> Tensor:
        """Tokens for the language model.

        Args:
            features: (B, N, F).
            boxes: (B, N, 4), x1, x2, y1, y2 as shares of the image; zeros by default.
            image_ids: (B, N) or (N,), which image of the sample a token belongs to; the first by default.
            object_ids: (B, N) or (N,), which object of its image a token is; 0, 1, .. N-1 by default.

        Returns:
            (B, N, D)
        """
        tokens = features.shape[1]
        if boxes is None:
            boxes = features.new_zeros(*features.shape[:2], 4)
        if image_ids is None:
            image_ids = torch.zeros(tokens, dtype=torch.long, device=features.device)
        if object_ids is None:
            object_ids = torch.arange(tokens, device=features.device)
        x1, x2, y1, y2 = boxes.unbind(-1)
        placed = torch.cat([boxes, ((y2 - y1) * (x2 - x1)).unsqueeze(-1)], dim=-1)  # (B, N, 5)
        order = self.image(image_ids) + self.words(self.words.num_embeddings - 1 - object_ids)
        return self.norm(self.feature_norm(self.feature(features)) + self.box_norm(self.box(placed)) + order)


class GridPool(nn.Module):
    """Fewer tokens of a square grid: 7 x 7 -> 6 x 6 cells by adaptive max pooling, as VL-Adapter has it.

    Args:
        tokens: N', how many are left of every image; a square number.

    Raises:
        DataError: that is no square number.
    """

    def __init__(self, tokens: int = 36) -> None:
        super().__init__()
        self.tokens, self.edge = tokens, edge_of(tokens)

    def forward(self, features: Tensor, images: int = 1) -> Tensor:
        """(B, I·N, F) -> (B, I·N', F), the tokens of every image in rows from the top left.

        Raises:
            DataError: the tokens are not one square grid for each image.
        """
        if features.shape[1] % images:
            raise DataError(f"{features.shape[1]} tokens cannot be those of {images} images of one size.")
        per_image = features.unflatten(1, (images, -1)).flatten(0, 1)  # (B·I, N, F)
        edge = edge_of(per_image.shape[1])
        grid = per_image.transpose(1, 2).unflatten(2, (edge, edge))  # (B·I, F, edge, edge)
        pooled = functional.adaptive_max_pool2d(grid, self.edge).flatten(2).transpose(1, 2)  # (B·I, N', F)
        return pooled.unflatten(0, (-1, images)).flatten(1, 2)

    def ids(self, images: int = 1) -> tuple[Tensor, Tensor]:
        """For `VisualEmbedding`: (I·N',) image and object ids of what `forward` returns."""
        return torch.arange(images).repeat_interleave(self.tokens), torch.arange(self.tokens).repeat(images)


def edge_of(tokens: int) -> int:
    """Edge of a square grid.

    Raises:
        DataError: it is none.
    """
    edge = isqrt(tokens)
    if edge * edge != tokens or not tokens:
        raise DataError(f"{tokens} tokens are no square grid.", hint="Give rows x columns of equal number, such as 49.")
    return edge
