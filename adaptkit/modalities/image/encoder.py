"""Images: as the backbone or a tower reads them, or as tokens of raw pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaptkit.errors import RecipeError
from adaptkit.modalities.context import BackboneContext
from adaptkit.modalities.encoder import MODALITIES, Encoder, present_of, shared, tower_of
from adaptkit.modalities.image.table import ImageModality
from adaptkit.modalities.pixels import Pixels
from adaptkit.modalities.tower import Tower

# B batch, T tokens, E width, C channels, H height, W width, P side of a patch


@MODALITIES.register("image")
class ImageEncoder(Encoder):
    """Images from files or arrays, resized and normalised; a batch has `pixel_values`, (B, C, H, W) float32.

    Route `backbone` hands them over as they are, and a tower turns them into its vectors. Otherwise they become
    tokens: `pixels` one of width C*H*W, `rows` H of width C*W, `patches` (H/P)*(W/P) of width C*P*P. An absent image
    is all zeros.

    Args:
        form: `pixels`, `rows` or `patches`.
        pixels: size, channels and normalisation.
        patch: P.
        native: whether the backbone reads it.
        tower: reads it, if there is one.
    """

    table = ImageModality
    unit = "images"

    def __init__(
        self, form: str, pixels: Pixels, *, patch: int, native: bool = False, tower: Tower | None = None, **common: Any
    ) -> None:
        height, width = pixels.size
        channels = pixels.channels
        shapes = {
            "pixels": (1, channels * height * width),
            "rows": (height, channels * width),
            "patches": ((height // patch) * (width // patch), channels * patch * patch),
        }
        tokens, token_width = (None, 0) if native else shapes[form]
        if tower is not None:
            tokens, token_width = tower.tokens, tower.width
        super().__init__(width=token_width, tokens=tokens, native=native, tower=tower, **common)
        self.form, self.pixels, self.patch = form, pixels, patch
        self.limit = None  # an image is never cut

    @classmethod
    def of(cls, modality: Any, name: str, context: BackboneContext) -> ImageEncoder:
        native = modality.route == "backbone"
        if native and context.image_size is None:
            raise RecipeError(
                "this backbone reads no images.",
                where=f"modality.{name}.route",
                hint='Write route = "side", "tokens" or "fusion".',
            )
        tower = None if native else tower_of(modality, name, context)
        pixels = Pixels.of(modality, name, context if native else tower)
        cuts = not native and tower is None and modality.encoder == "patches"
        if cuts and any(side % modality.patch for side in pixels.size):
            raise RecipeError(
                f"an image of {pixels.size[0]} x {pixels.size[1]} cannot be cut into patches of {modality.patch}.",
                where=f"modality.{name}.patch",
                hint="Choose a patch that divides the size.",
            )
        return cls(modality.encoder, pixels, patch=modality.patch, native=native, tower=tower, **shared(modality, name))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.pixels.size

    def read(self, value: Any, where: str) -> np.ndarray:
        return self.pixels.read(value, name=self.name, where=where)  # (C, H, W)

    def collate(self, values: list[np.ndarray | None], ids: list[str]) -> dict[str, Tensor]:
        blank = np.zeros((self.pixels.channels, *self.pixels.size), dtype=np.float32)
        batch = np.stack([blank if value is None else value for value in values])
        return {"pixel_values": torch.from_numpy(batch), "present": present_of(values)}

    def vectors(self, inputs: Any) -> tuple[Tensor, Tensor]:
        assert not self.native, f"{self.name} goes to the backbone as it is"
        if self.tower is not None:
            return self.tower(inputs)
        pixels = inputs["pixel_values"]  # (B, C, H, W)
        if self.form == "pixels":
            tokens = pixels.flatten(1)[:, None]  # (B, 1, C*H*W)
        elif self.form == "rows":
            tokens = pixels.transpose(1, 2).flatten(2)  # (B, H, C*W)
        else:
            p = self.patch
            blocks = pixels.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # (B, C, H/P, P, W/P, P)
            tokens = blocks.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (B, T, C*P*P)
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
