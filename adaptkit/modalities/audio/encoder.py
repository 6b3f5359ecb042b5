"""Sound: as log-mel frames, or as a tower hears it."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from adaptkit.errors import DataError, RecipeError
from adaptkit.modalities.audio.log_mel import Features, Heard, LogMel, tower_features, tower_limit
from adaptkit.modalities.audio.table import AudioModality
from adaptkit.modalities.audio.waveform import read_waveform, waveform_length
from adaptkit.modalities.context import BackboneContext
from adaptkit.modalities.encoder import MODALITIES, Encoder, check_not_native, present_of, shared, tower_of
from adaptkit.modalities.token_encoder import ENCODERS, TokenEncoder, encoder_of
from adaptkit.modalities.tower import Tower

# B batch, S samples of sound, F frames, T tokens, E width

SHORTEST = 0.025  # seconds: what the convolutions of wav2vec 2.0 need for one token
UNBOUNDED = 10  # seconds that are counted where nothing bounds a sound


@MODALITIES.register("audio")
class AudioEncoder(Encoder):
    """Sound from files or arrays: mono, at one sampling rate, at most `seconds` of it.

    Without a tower one token per frame, its log-mel spectrum. A batch has `values` and `mask`, (B, F, bins) and
    (B, F), or of a tower that hears waveforms (B, S) and (B, S); padded with zeros at the end.

    Args:
        mel: the spectrogram; None with a tower.
        rate: samples per second.
        seconds: longest clip; None for all.
        keep: which part of a longer one is kept: `first`, `last` or `middle`.
        tower: hears it, if there is one.
        encoder: makes tokens of the frames of the spectrogram.
    """

    table = AudioModality
    unit = "samples"

    def __init__(
        self,
        mel: LogMel | None,
        *,
        rate: int,
        seconds: float | None = None,
        keep: str = "first",
        tower: Tower | None = None,
        encoder: TokenEncoder | None = None,
        **common: Any,
    ) -> None:
        assert (mel is None) != (tower is None), "either a spectrogram or a tower"
        own = None if tower is None else tower_limit(tower)
        limits = [n for n in (None if seconds is None else int(seconds * rate), own) if n is not None]
        limit = min(limits, default=None)
        tokens, width = _shape(mel, tower, limit)
        super().__init__(width=width, tokens=tokens, tower=tower, encoder=encoder, **common)
        self.mel, self.rate, self.keep, self.limit = mel, rate, keep, limit

    @classmethod
    def of(cls, modality: Any, name: str, context: BackboneContext) -> AudioEncoder:
        check_not_native(modality, name)
        tower = tower_of(modality, name, context)
        rate = modality.sampling_rate or (16000 if tower is None else tower.audio.sampling_rate)
        if tower is not None and rate != tower.audio.sampling_rate:
            raise RecipeError(
                f"the tower hears {tower.audio.sampling_rate} samples per second, not {rate}.",
                where=f"modality.{name}.sampling_rate",
                hint="Leave it out: files are resampled.",
            )
        mel = encoder = None
        if tower is None:
            hop, window = (max(round(rate * ms / 1000), 1) for ms in (modality.hop, modality.window))
            mel = LogMel(rate, modality.bins, hop, window)
            frames = None if modality.seconds is None else mel.frames(int(modality.seconds * rate))
            encoder = encoder_of(modality, name, (frames, mel.bins))
        own = {"seconds": modality.seconds, "keep": modality.keep, "tower": tower, "encoder": encoder}
        return cls(mel, rate=rate, **own, **shared(modality, name))

    @property
    def preprocessing(self) -> dict[str, Any]:
        heard = {} if self.tower is None else asdict(self.tower.audio)
        return {**heard, "sampling_rate": self.rate}

    @property
    def _blank(self) -> tuple[int, ...]:
        """Shape of the silence that stands in for an absent sound: long enough to be heard."""
        if self.mel is not None:
            return 1, self.mel.bins
        assert self.tower is not None
        audio = self.tower.audio
        return (int(SHORTEST * self.rate),) if audio.form == "waveform" else (audio.frames or 1, audio.bins)

    @property
    def longest(self) -> int:
        samples = self.limit or UNBOUNDED * self.rate
        return samples if self.mel is None else self.mel.frames(samples)

    @cached_property
    def features(self) -> Features:
        """From a (S,) waveform to what a batch is made of."""
        if self.mel is not None:
            return self.mel
        assert self.tower is not None
        return tower_features(self.tower)

    def read(self, value: Any, where: str) -> Heard:
        waveform = read_waveform(value, self.rate, self.limit, self.keep, name=self.name, where=where)  # (S,)
        if self.tower is not None and len(waveform) < SHORTEST * self.rate:
            raise DataError(
                f"{self.name} has {len(waveform)} samples, and the tower needs {int(SHORTEST * self.rate)}.",
                where=where,
                hint=f"Leave such sounds out: an absent one is what modality.{self.name}.missing says.",
            )
        return self.features(waveform)

    def length(self, value: Any) -> int:
        return waveform_length(value, self.rate, name=self.name, where="")

    def collate(self, values: list[Heard | None], ids: list[str]) -> dict[str, Tensor]:
        shape = self._blank
        rows = [Heard(np.zeros(shape, dtype=np.float32), shape[0]) if value is None else value for value in values]
        longest = max(len(row.values) for row in rows)
        batch = torch.zeros(len(rows), longest, *shape[1:])  # (B, F, bins) or (B, S)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for index, row in enumerate(rows):
            batch[index, : len(row.values)] = torch.from_numpy(row.values)
            mask[index, : row.count] = True
        return {"values": batch, "mask": mask, "present": present_of(values)}

    def vectors(self, inputs: Any) -> tuple[Tensor, Tensor]:
        return self._encoded(inputs["values"], inputs["mask"]) if self.tower is None else self.tower(inputs)


@ENCODERS.register("log_mel")
class Spectrum(TokenEncoder):
    """The log-mel frames themselves."""

    modality: ClassVar[tuple[str, ...]] = ("audio",)

    def __init__(self, shape: tuple[int | None, int]) -> None:
        super().__init__()
        self.tokens, self.width = shape

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return values, mask


def _shape(mel: LogMel | None, tower: Tower | None, limit: int | None) -> tuple[int | None, int]:
    """(most tokens, width) of what comes out."""
    if mel is not None:
        return (None if limit is None else mel.frames(limit)), mel.bins
    assert tower is not None
    if tower.tokens is None and limit is not None and tower.audio.form == "waveform":
        return tower.heard(limit), tower.width
    return tower.tokens, tower.width
