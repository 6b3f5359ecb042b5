"""The base of encoders: from the raw values of a modality to its tokens, where no model of its own makes them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from adaptkit import kinds
from adaptkit.kinds import Kinds

# B batch, T tokens, E width, F frames, C channels, H height, W width

ENCODERS: Kinds[type[TokenEncoder]] = kinds.ENCODERS


class TokenEncoder(nn.Module):
    """Turns a batch of raw values into tokens; what it learns is trained and saved with the adapters.

    Its keyword-only arguments are keys of its table: `encoder = { kind = "conv_frames", channels = 8 }`.

    Args:
        shape: of one sample. (C, H, W) of an image; (F, C, H, W) of a video, which may have fewer frames;
            (T, E) of audio (log-mel frames), features and tables. T is None where only the data knows.

    Attributes:
        modality: the kinds of modality that it serves.
        width: E of its tokens.
        tokens: most of them per sample; None where only the data knows.
    """

    modality: ClassVar[tuple[str, ...]] = ()
    width: int
    tokens: int | None

    @classmethod
    def of(cls, shape: tuple[Any, ...], modality: Any, name: str) -> TokenEncoder:
        """This class, built from the table of its modality.

        Raises:
            RecipeError: a combination that cannot work.
        """
        return cls(shape, **modality.encoder.options)  # type: ignore[call-arg]

    def laid_out(self, array: np.ndarray, where: str) -> np.ndarray:
        """The array of one sample as the sequence (T, E) that it is part of a batch in.

        Raises:
            DataError: it is not what this encoder makes tokens of.
        """
        return array

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors and those that count.

        Args:
            values: (B, *shape), of a sequence as long as the longest of the batch.
            mask: (B, T) bool, the steps or frames that count; (B, 1) of images.

        Returns:
            (B, T', E) and (B, T') bool.
        """
        raise NotImplementedError


def encoder_of(modality: Any, name: str, shape: tuple[Any, ...]) -> TokenEncoder | None:
    """The encoder that the modality's table asks for; None where its values are its tokens."""
    if modality.encoder is None:
        return None
    return ENCODERS.named(modality.encoder.kind, where=f"modality.{name}.encoder").of(shape, modality, name)
