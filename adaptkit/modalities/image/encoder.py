"""Images: as the backbone or a tower reads them, or as tokens of raw pixels."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaptkit.errors import RecipeError
from adaptkit.modalities.context import BackboneContext
from adaptkit.modalities.encoder import MODALITIES, Encoder, present_of, shared, tower_of
from adaptkit.modalities.image.table import ImageModality
from adaptkit.modalities.pixels import Pixels
from adaptkit.modalities.token_encoder import TokenEncoder, encoder_of
from adaptkit.modalities.tower import Tower

# B batch, C channels, H height, W width


@MODALITIES.register("image")
class ImageEncoder(Encoder):
    """Images from files or arrays, resized and normalised; a batch has `pixel_values`, (B, C, H, W) float32.

    Route `backbone` hands them over as they are, and a tower turns them into its vectors; otherwise an encoder makes
    tokens of their pixels. An absent image is all zeros.

    Args:
        pixels: size, channels and normalisation.
        native: whether the backbone reads it.
        tower: reads it, if there is one.
        encoder: makes tokens of it, if there is one.
    """

    table = ImageModality
    unit = "images"

    def __init__(
        self,
        pixels: Pixels,
        *,
        native: bool = False,
        tower: Tower | None = None,
        encoder: TokenEncoder | None = None,
        **common: Any,
    ) -> None:
        assert sum((native, tower is not None, encoder is not None)) == 1, "one reads it"
        tokens, width = (None, 0) if tower is None else (tower.tokens, tower.width)
        super().__init__(width=width, tokens=tokens, native=native, tower=tower, encoder=encoder, **common)
        self.pixels = pixels
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
        own = native or tower is not None
        encoder = None if own else encoder_of(modality, name, (pixels.channels, *pixels.size))
        return cls(pixels, native=native, tower=tower, encoder=encoder, **shared(modality, name))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.pixels.size

    @property
    def preprocessing(self) -> dict[str, Any]:
        return asdict(self.pixels)

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
        return self._encoded(pixels, torch.ones(len(pixels), 1, dtype=torch.bool, device=pixels.device))
