"""Features of images or frames as tokens of a language model (VL-T5, VL-BART, VL-Adapter)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.errors import RecipeError
from adaptkit.kinds import Count, Share
from adaptkit.modalities.projection import PROJECTIONS, TokenProjection

# B batch, T tokens, F width of a feature, E width of a vector: F, and 4 numbers of its box where it has one,
# D width of the language model, V its words

BOX = 4  # x1, x2, y1, y2, as shares of the image


@PROJECTIONS.register("visual_embedding")
class VisualEmbedding(TokenProjection):
    """Feature, box, image and object embeddings of visual tokens, added up (Cho et al. 2021, VL-T5, section 3.1).

        v = LN(W_f f + b_f) + LN(W_b [box; area] + b_b) + image_i + object_o

    Published, object o takes its vector from the end of the language model's own word table, row V - 1 - o, where
    VL-T5 appends one word for each (`backbone.added_tokens`). Where that table is frozen those are random vectors for
    good, and `objects = "trained"` gives a table of its own in their place.

    Args:
        width: E.
        out: D.
        tokens: most tokens of a sample.
        per_image: how many tokens an image has; the images of a sample follow each other. Default: a sample is one.
        images: how many images are told apart.
        boxes: "zeros", as grid features have them; "last": the last four numbers of every vector, x1, x2, y1, y2.
        objects: which one of its image a token is: rows of the "words", a table of its own that is "trained", "none".
        normalise: the features and the boxes "each", or their "sum" with the other two, or "none".
        norm: "layer" (BART) or "rms", without mean and bias (T5).
        dropout: probability of dropping a number of a token in training.

    Raises:
        RecipeError: more tokens than the images have, or vectors without room for a box.
    """

    reads_words = True

    def __init__(
        self,
        width: int,
        out: int,
        tokens: int,
        *,
        per_image: Count | None = None,
        images: Count = 2,
        boxes: Literal["zeros", "last"] = "zeros",
        objects: Literal["words", "trained", "none"] = "words",
        normalise: Literal["each", "sum", "none"] = "each",
        norm: Literal["layer", "rms"] = "layer",
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        self.per_image = tokens if per_image is None else per_image
        check_images(tokens, self.per_image, images)
        self.box_numbers = BOX if boxes == "last" else 0
        if width <= self.box_numbers:
            raise RecipeError(f"vectors of {width} numbers have no feature besides their box.", hint='boxes = "zeros"')

        def normed(when: str) -> nn.Module:
            if normalise != when:
                return nn.Identity()
            return nn.LayerNorm(out) if norm == "layer" else nn.RMSNorm(out, eps=1e-6)

        self.feature, self.feature_norm = nn.Linear(width - self.box_numbers, out), normed("each")
        self.box, self.box_norm = nn.Linear(BOX + 1, out), normed("each")
        self.image, self.norm = nn.Embedding(images, out), normed("sum")
        self.objects, self.dropout = objects, nn.Dropout(dropout)
        if objects == "trained":
            self.object = nn.Embedding(self.per_image, out)

    def forward(self, vectors: Tensor, words: Tensor | None = None) -> Tensor:
        places = torch.arange(vectors.shape[1], device=vectors.device)  # (T,)
        features, boxes = vectors, None
        if self.box_numbers:
            features, boxes = vectors[..., :-BOX], vectors[..., -BOX:]
        return self.embedded(features, boxes, places // self.per_image, places % self.per_image, words)

    def embedded(
        self, features: Tensor, boxes: Tensor | None, image_ids: Tensor, object_ids: Tensor, words: Tensor | None
    ) -> Tensor:
        """(B, T, D) tokens.

        Args:
            features: (B, T, F).
            boxes: (B, T, 4), x1, x2, y1, y2; None for zeros.
            image_ids: (B, T) or (T,), which image of the sample a token belongs to.
            object_ids: (B, T) or (T,), which object of its image it is.
            words: (V, D).
        """
        if boxes is None:
            boxes = features.new_zeros(*features.shape[:2], BOX)
        x1, x2, y1, y2 = boxes.unbind(-1)
        placed = torch.cat([boxes, ((y2 - y1) * (x2 - x1)).unsqueeze(-1)], dim=-1)  # (B, T, 5)
        seen = self.feature_norm(self.feature(features)) + self.box_norm(self.box(placed))
        order = self.image(image_ids) + self._object(object_ids, words)
        return self.dropout(self.norm(seen + order.to(seen.dtype)))

    def _object(self, ids: Tensor, words: Tensor | None) -> Tensor | float:
        """(B, T, D) or (T, D); 0 where objects are not told apart."""
        if self.objects == "none":
            return 0.0
        if self.objects == "trained":
            return self.object(ids)
        assert words is not None, "the backbone of route tokens has words"
        return functional.embedding(len(words) - 1 - ids, words)


def check_images(tokens: int, per_image: int, images: int) -> None:
    """Raise RecipeError unless the tokens are those of so many images at most."""
    if tokens > per_image * images or tokens % per_image:
        raise RecipeError(
            f"{tokens} tokens of a sample are not those of up to {images} images of {per_image}.",
            hint=f"Write max_tokens = {per_image * images} (before pooling accordingly more), or per_image and images.",
        )
