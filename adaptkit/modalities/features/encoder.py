"""Vectors computed elsewhere: lists, arrays or files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaptkit.data.moments import Moments
from adaptkit.data.paths import ArrayPath, are_files
from adaptkit.errors import DataError
from adaptkit.modalities.arrays import array_length, finite, kept, read_array
from adaptkit.modalities.context import BackboneContext
from adaptkit.modalities.encoder import (
    MODALITIES,
    Encoder,
    check_not_native,
    present_of,
    shared,
    tower_of,
)
from adaptkit.modalities.features.table import FeaturesModality
from adaptkit.modalities.standardising import register, settle, standardised
from adaptkit.modalities.token_encoder import TokenEncoder, encoder_of
from adaptkit.modalities.tower import Tower

# B batch, T tokens, W width of a vector, E width of the encoder's output: W, or the tower's


@MODALITIES.register("features")
class FeaturesEncoder(Encoder):
    """Vectors computed elsewhere: (W,) or (T, W) per sample, from a list, an array, a file (see `read_array`) or files.

    Of several files of a sample, such as those of its two images, the vectors come one after the other.

    A batch has `values`, (B, T, W) float32, padded with zeros at the end, and `mask`, (B, T) bool.

    Args:
        feature_width: W.
        max_tokens: T, most vectors kept of a sample.
        keep: which: `first`, `last`, `middle` or `even`.
        standardise: by the mean and standard deviation of every channel in the training split, see `fit`.
        tower: a text model that reads the vectors in place of its word embeddings.
        encoder: what else makes tokens of them.
    """

    table = FeaturesModality
    unit = "vectors"
    center: Tensor
    scale: Tensor

    def __init__(
        self,
        feature_width: int,
        *,
        max_tokens: int | None = None,
        keep: str = "first",
        standardise: bool = False,
        tower: Tower | None = None,
        encoder: TokenEncoder | None = None,
        **common: Any,
    ) -> None:
        if tower is not None:
            room = [n for n in (max_tokens, tower.spec.max_tokens) if n is not None]
            max_tokens = min(room, default=None)
        width = feature_width if tower is None else tower.width
        super().__init__(width=width, tokens=max_tokens, tower=tower, encoder=encoder, **common)
        self.feature_width, self.keep, self.standardise = feature_width, keep, standardise
        self.could_standardise = not standardise
        if standardise:
            register(self, feature_width)

    @classmethod
    def of(cls, modality: Any, name: str, context: BackboneContext) -> FeaturesEncoder:
        check_not_native(modality, name)
        return cls(
            modality.width,
            max_tokens=modality.max_tokens,
            keep=modality.keep,
            standardise=modality.standardise,
            tower=tower_of(modality, name, context, feature_width=modality.width),
            encoder=encoder_of(modality, name, (modality.max_tokens, modality.width)),
            **shared(modality, name),
        )

    @property
    def needs_fit(self) -> bool:
        return self.standardise or super().needs_fit

    def read(self, value: Any, where: str) -> np.ndarray:
        array, width = self._array(value, where), self.feature_width
        if self.encoder is not None and array.ndim > 1 and array.shape[-1] == width:
            array = self.encoder.laid_out(array, where)
        if array.ndim not in (1, 2) or len(array) == 0 or array.shape[-1] != width:
            raise DataError(
                f"{self.name} has shape {array.shape}; expected ({width},) or (T, {width}).",
                where=where,
                hint=f"Or correct modality.{self.name}.width.",
            )
        array = np.atleast_2d(array)
        return finite(array[kept(len(array), self.limit, self.keep)], self.name, where)  # (T, W)

    def length(self, value: Any) -> int:
        if are_files(value):
            return sum(map(self.length, value))
        if isinstance(value, str | Path | ArrayPath) and self.encoder is None:
            return array_length(value, name=self.name, where=str(value))
        return prod(np.shape(self._array(value, ""))[:-1])

    def collate(self, values: list[np.ndarray | None], ids: list[str]) -> dict[str, Tensor]:
        vectors, mask = padded(values, self.feature_width)
        return {"values": vectors, "mask": mask, "present": present_of(values)}

    def fit(self, batches: Iterable[Mapping[str, Tensor]]) -> None:
        """Set mean and standard deviation of every channel, over all vectors that count, then what the base class sets.

        Raises:
            DataError: no sample has the modality.
        """
        if self.standardise:
            moments = Moments(self.feature_width)
            for inputs in batches:
                moments.add(inputs["values"][inputs["mask"]].cpu().numpy())  # (n, W)
            if not moments.count.any():
                message = f"no training sample has {self.name}, so it cannot be standardised."
                raise DataError(message, where=f"modality.{self.name}.standardise")
            settle(self.center, self.scale, moments)
        if self.missing == "mean" or not self.standardise:
            super().fit(batches)

    def vectors(self, inputs: Any) -> tuple[Tensor, Tensor]:
        if self.standardise:
            values, there = inputs["values"], inputs["mask"][:, :, None]
            values = standardised(values, there, self.center, self.scale, name=self.name)  # (B, T, W)
            inputs = {**inputs, "values": values}
        if self.tower is not None:
            return self.tower(inputs)
        return self._encoded(inputs["values"], inputs["mask"])  # (B, T, E), (B, T)

    def _array(self, value: Any, where: str) -> np.ndarray:
        if isinstance(value, str | Path | ArrayPath):
            return read_array(value, name=self.name, where=where)
        if are_files(value):
            return self._joined([np.atleast_2d(self._array(part, where)) for part in value], where)
        try:
            with np.errstate(over="ignore"):  # what is too large is infinite, and refused as that
                return np.asarray(value, dtype=np.float32)
        except (TypeError, ValueError, OverflowError):
            raise DataError(f"{self.name} is not an array of numbers.", where=where) from None

    def _joined(self, parts: list[np.ndarray], where: str) -> np.ndarray:
        """(T1, W), (T2, W), ... -> (T1 + T2 + ..., W)."""
        if len({part.shape[1:] for part in parts}) > 1:
            shapes = ", ".join(str(part.shape) for part in parts)
            raise DataError(f"the files of {self.name} have shapes {shapes}, which make no sequence.", where=where)
        return np.concatenate(parts)


def padded(values: list[np.ndarray | None], width: int) -> tuple[Tensor, Tensor]:
    """Sequences (T, W), None for an absent one -> (B, T, W) float32 with zeros at the end, (B, T) bool."""
    longest = max((len(value) for value in values if value is not None), default=1)
    batch = torch.zeros(len(values), longest, width)
    mask = torch.zeros(len(values), longest, dtype=torch.bool)
    for row, value in enumerate(values):
        if value is not None:
            batch[row, : len(value)] = torch.from_numpy(value)
            mask[row, : len(value)] = True
    return batch, mask
