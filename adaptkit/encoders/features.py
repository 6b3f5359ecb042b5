"""Vectors computed elsewhere: lists, arrays or .npy files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaptkit.encoders.context import BackboneContext
from adaptkit.encoders.encoder import ENCODERS, Encoder, finite, present_of
from adaptkit.errors import DataError, RecipeError

# B batch, T tokens, E width


@ENCODERS.register("features")
class FeaturesEncoder(Encoder):
    """Vectors computed elsewhere: (E,) or (T, E) per sample, from a list, an array or an .npy file.

    A batch has `values`, (B, T, E) float32, padded with zeros at the end, and `mask`, (B, T) bool.

    Args:
        feature_width: E.
        pool: `none`, or `mean`, `max`, `first` over the tokens of a sample.
        max_tokens: T, most vectors kept of a sample: the first ones.
    """

    description = "vectors computed elsewhere: lists or .npy files, (E,) or (T, E)"

    def __init__(self, feature_width: int, *, pool: str = "none", max_tokens: int | None = None, **common: Any) -> None:
        super().__init__(width=feature_width, tokens=max_tokens if pool == "none" else 1, **common)
        self.pool, self.max_tokens = pool, max_tokens

    @classmethod
    def of(cls, modality: Any, name: str, context: BackboneContext) -> FeaturesEncoder:
        if modality.route == "backbone":
            raise RecipeError(
                'features cannot take route = "backbone": no backbone reads them as they are.',
                where=f"modality.{name}.route",
                hint='Write route = "tokens", "side" or "fusion".',
            )
        return cls(
            modality.width,
            pool=modality.pool,
            max_tokens=modality.max_tokens,
            name=name,
            missing=modality.missing,
            modality_dropout=modality.modality_dropout,
        )

    def read(self, value: Any, where: str) -> np.ndarray:
        array = self._array(value, where)
        if array.ndim not in (1, 2) or len(array) == 0 or array.shape[-1] != self.width:
            raise DataError(
                f"{self.name} has shape {array.shape}; expected ({self.width},) or (T, {self.width}).",
                where=where,
                hint=f"Or correct modality.{self.name}.width.",
            )
        return finite(np.atleast_2d(array)[: self.max_tokens], self.name, where)  # (T, E)

    def collate(self, values: list[np.ndarray | None], ids: list[str]) -> dict[str, Tensor]:
        longest = max((len(value) for value in values if value is not None), default=1)
        batch = torch.zeros(len(values), longest, self.width)  # (B, T, E)
        mask = torch.zeros(len(values), longest, dtype=torch.bool)
        for row, value in enumerate(values):
            if value is not None:
                batch[row, : len(value)] = torch.from_numpy(value)
                mask[row, : len(value)] = True
        return {"values": batch, "mask": mask, "present": present_of(values)}

    def vectors(self, inputs: Any) -> tuple[Tensor, Tensor]:
        values, mask = inputs["values"], inputs["mask"]  # (B, T, E), (B, T)
        if self.pool == "none":
            return values, mask
        return self._pooled(values, mask)[:, None], mask[:, :1]  # (B, 1, E), (B, 1)

    def _pooled(self, values: Tensor, mask: Tensor) -> Tensor:
        if self.pool == "first":
            return values[:, 0]  # (B, E)
        if self.pool == "mean":
            return (values * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        lowest = values.masked_fill(~mask[:, :, None], -torch.inf).amax(1)
        return torch.where(mask.any(1, keepdim=True), lowest, 0.0)

    def _array(self, value: Any, where: str) -> np.ndarray:
        if isinstance(value, str | Path):
            return _load(Path(value), self.name, where)
        try:
            return np.asarray(value, dtype=np.float32)
        except (TypeError, ValueError):
            raise DataError(f"{self.name} is not an array of numbers.", where=where) from None


def _load(path: Path, name: str, where: str) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)  # a pickle could run code
    except FileNotFoundError:
        raise DataError(f"{name}: the file {path} does not exist.", where=where) from None
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{name}: {path} is not a readable .npy array: {error}.", where=where) from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise DataError(f"{name}: {path} does not hold one array of numbers.", where=where)
    return array.astype(np.float32)
