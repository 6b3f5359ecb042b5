"""Images: as the backbone reads them, or as tokens of raw pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaptkit.encoders.context import BackboneContext
from adaptkit.encoders.encoder import ENCODERS, Encoder, present_of
from adaptkit.encoders.pixels import read_image
from adaptkit.errors import RecipeError

# B batch, T tokens, E width, C channels, H height, W width, P side of a patch


@ENCODERS.register("image")
class ImageEncoder(Encoder):
    """Images from files or arrays, resized and normalised; a batch has `pixel_values`, (B, C, H, W) float32.

    Route `backbone` hands them over as they are. Otherwise they become tokens: `pixels` one of width C*H*W,
    `rows` H of width C*W, `patches` (H/P)*(W/P) of width C*P*P. An absent image is all zeros.

    Args:
        form: `pixels`, `rows` or `patches`.
        size: (H, W).
        channels: C, 1 or 3.
        patch: P.
        mean: subtracted from values of 0..1, one number or one per channel.
        std: divides, likewise.
    """

    size: tuple[int, int]
    channels: int
    description = "images (files or arrays): pixels, rows or patches as tokens, or as the backbone reads them"

    def __init__(
        self,
        form: str,
        *,
        size: tuple[int, int],
        channels: int,
        patch: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        native: bool,
        **common: Any,
    ) -> None:
        height, width = size
        shapes = {
            "pixels": (1, channels * height * width),
            "rows": (height, channels * width),
            "patches": ((height // patch) * (width // patch), channels * patch * patch),
        }
        tokens, token_width = (None, 0) if native else shapes[form]
        super().__init__(width=token_width, tokens=tokens, native=native, **common)
        self.form, self.size, self.channels, self.patch = form, size, channels, patch
        self.mean, self.std = mean, std

    @classmethod
    def of(cls, modality: Any, name: str, context: BackboneContext) -> ImageEncoder:
        native = modality.route == "backbone"
        if native and context.image_size is None:
            raise RecipeError(
                "this backbone reads no images.",
                where=f"modality.{name}.route",
                hint='Write route = "side", "tokens" or "fusion".',
            )
        channels = modality.channels or (context.channels if native else 3)
        if native and channels != context.channels:
            raise RecipeError(
                f"the backbone reads images of {context.channels} channels, not {channels}.",
                where=f"modality.{name}.channels",
            )
        size = _size(modality, name, context)
        return cls(
            modality.encoder,
            size=size,
            channels=channels,
            patch=_patch(modality, name, size),
            mean=_per_channel(modality.mean, context.mean if native else (0.0,), channels, f"modality.{name}.mean"),
            std=_per_channel(modality.std, context.std if native else (1.0,), channels, f"modality.{name}.std"),
            native=native,
            name=name,
            missing=modality.missing,
            modality_dropout=modality.modality_dropout,
        )

    def read(self, value: Any, where: str) -> np.ndarray:
        image = read_image(value, self.channels, self.size, name=self.name, where=where)  # (C, H, W)
        mean, std = (np.array(x, dtype=np.float32)[:, None, None] for x in (self.mean, self.std))
        return (image - mean) / std

    def collate(self, values: list[np.ndarray | None], ids: list[str]) -> dict[str, Tensor]:
        blank = np.zeros((self.channels, *self.size), dtype=np.float32)
        batch = np.stack([blank if value is None else value for value in values])
        return {"pixel_values": torch.from_numpy(batch), "present": present_of(values)}

    def vectors(self, inputs: Any) -> tuple[Tensor, Tensor]:
        assert not self.native, f"{self.name} goes to the backbone as it is"
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


def _size(modality: Any, name: str, context: BackboneContext) -> tuple[int, int]:
    where = f"modality.{name}.size"
    size = modality.size
    if modality.route == "backbone":
        assert context.image_size is not None
        wanted = context.image_size if size is None else _pair(size)
        if wanted != context.image_size:
            raise RecipeError(f"the backbone reads images of {context.image_size}, not {wanted}.", where=where)
        return wanted
    if size is None:
        raise RecipeError(
            "size is needed: the width of the tokens follows from it.",
            where=where,
            hint="For example size = 32.",
        )
    return _pair(size)


def _pair(size: int | list[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _patch(modality: Any, name: str, size: tuple[int, int]) -> int:
    if modality.route != "backbone" and modality.encoder == "patches" and any(n % modality.patch for n in size):
        raise RecipeError(
            f"an image of {size[0]} x {size[1]} cannot be cut into patches of {modality.patch}.",
            where=f"modality.{name}.patch",
            hint="Choose a patch that divides the size.",
        )
    return modality.patch


def _per_channel(
    value: float | list[float] | None, default: tuple[float, ...], channels: int, where: str
) -> tuple[float, ...]:
    numbers = default if value is None else (value,) if isinstance(value, int | float) else tuple(value)
    if len(numbers) == 1:
        return numbers * channels
    if len(numbers) != channels:
        raise RecipeError(f"{len(numbers)} numbers for {channels} channels.", where=where)
    return numbers
