"""Videos: a few frames, one token each."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaptkit import pooling
from adaptkit.modalities.context import BackboneContext
from adaptkit.modalities.encoder import MODALITIES, Encoder, check_not_native, present_of, shared, tower_of
from adaptkit.modalities.pixels import Pixels
from adaptkit.modalities.token_encoder import TokenEncoder, encoder_of
from adaptkit.modalities.tower import Tower
from adaptkit.modalities.video.frames import frames_length, read_frames
from adaptkit.modalities.video.table import VideoModality

# B batch, F frames, C channels, H height, W width, T tokens of one image, E width


@MODALITIES.register("video")
class VideoEncoder(Encoder):
    """Videos from files, folders of frames or arrays: F frames, resized and normalised, one token each.

    A token is what an image tower makes of its frame, the mean over the tower's own tokens, or without a tower the
    frame's pixels. A batch has `pixel_values`, (B, F, C, H, W) float32, and `mask`, (B, F) bool: a video may have
    fewer frames.

    Args:
        frames: F.
        keep: which frames: `even`, `first`, `middle` or `last`.
        pixels: size, channels and normalisation.
        tower: of images.
        encoder: of videos.
    """

    table = VideoModality
    unit = "frames"
    frames_apart = True

    def __init__(
        self,
        frames: int,
        pixels: Pixels,
        *,
        keep: str = "even",
        tower: Tower | None = None,
        encoder: TokenEncoder | None = None,
        **common: Any,
    ) -> None:
        width = pixels.channels * pixels.size[0] * pixels.size[1] if tower is None else tower.width
        super().__init__(width=width, tokens=frames, tower=tower, encoder=encoder, **common)
        self.frames, self.pixels, self.keep = frames, pixels, keep

    @classmethod
    def of(cls, modality: Any, name: str, context: BackboneContext) -> VideoEncoder:
        check_not_native(modality, name)
        tower = tower_of(modality, name, context)
        pixels = Pixels.of(modality, name, tower)
        encoder = encoder_of(modality, name, (modality.frames, pixels.channels, *pixels.size))
        own = {"keep": modality.keep, "tower": tower, "encoder": encoder}
        return cls(modality.frames, pixels, **own, **shared(modality, name))

    @property
    def preprocessing(self) -> dict[str, Any]:
        return asdict(self.pixels)

    def read(self, value: Any, where: str) -> np.ndarray:
        frames = read_frames(value, self.frames, self.keep, name=self.name, where=where)
        return np.stack([self.pixels.read(frame, name=self.name, where=where) for frame in frames])  # (F, C, H, W)

    def length(self, value: Any) -> int:
        return frames_length(value, name=self.name, where="")

    def collate(self, values: list[np.ndarray | None], ids: list[str]) -> dict[str, Tensor]:
        longest = max((len(value) for value in values if value is not None), default=1)
        batch = torch.zeros(len(values), longest, self.pixels.channels, *self.pixels.size)
        mask = torch.zeros(len(values), longest, dtype=torch.bool)
        for row, value in enumerate(values):
            if value is not None:
                batch[row, : len(value)] = torch.from_numpy(value)
                mask[row, : len(value)] = True
        return {"pixel_values": batch, "mask": mask, "present": present_of(values)}

    def vectors(self, inputs: Any) -> tuple[Tensor, Tensor]:
        pixels, mask = inputs["pixel_values"], inputs["mask"]  # (B, F, C, H, W), (B, F)
        if self.encoder is not None:
            return self.encoder(pixels, mask)
        if self.tower is None:
            return pixels.flatten(2), mask  # (B, F, C*H*W)
        vectors, counts = self.tower({"pixel_values": pixels.flatten(0, 1)})  # (B*F, T, E), (B*F, T)
        return pooling.mean(vectors, counts).unflatten(0, mask.shape), mask  # (B, F, E)
