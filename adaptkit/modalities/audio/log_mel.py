"""Log-mel spectrograms: our own, and those that pretrained audio models read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from adaptkit.anatomy.calling.inputs import AudioSpec
from adaptkit.modalities.tower import Tower

# S samples, F frames, W samples of a window

FLOOR = 1e-10  # of the power, so that silence has a logarithm
# Mean and twice the standard deviation of AudioSet's log-mel values (Gong et al. 2021, "AST", section 3.1).
AUDIOSET = (-4.2677393, 2 * 4.5689974)


class Heard(NamedTuple):
    """Of one sound, what an encoder reads: (F, bins) frames or (S,) samples, and how many of them are of the sound."""

    values: np.ndarray
    count: int


Features = Callable[[np.ndarray], Heard]


@dataclass(frozen=True, slots=True)
class LogMel:
    """Natural logarithm of the mel spectrum of every window, normalised.

    Windows are of Hann and lie inside the sound; a sound shorter than one is filled up with silence. The bands are
    triangles on Kaldi's mel scale from 20 Hz to half the sampling rate.

    Args:
        rate: samples per second.
        bins: mel bands.
        hop: samples between two frames.
        window: W.
    """

    rate: int
    bins: int
    hop: int
    window: int

    def frames(self, samples: int) -> int:
        """F of S samples."""
        return frames_of(samples, self.window, self.hop)

    def __call__(self, waveform: np.ndarray) -> Heard:
        """(S,) -> (F, bins) float32."""
        missing = max(self.window - len(waveform), 0)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(waveform, (0, missing)), self.window)[:: self.hop]
        hann, filters, size = _filters(self.rate, self.bins, self.window)
        power = np.abs(np.fft.rfft(windows * hann, size)) ** 2  # (F, size / 2 + 1)
        mean, scale = AUDIOSET
        values = ((np.log(np.maximum(power @ filters, FLOOR)) - mean) / scale).astype(np.float32)
        return Heard(values, len(values))


def frames_of(samples: int, window: int, hop: int) -> int:
    """F of S samples: windows that lie within them, or one that is filled up."""
    return 1 + max(samples - window, 0) // hop


@lru_cache(maxsize=8)
def _filters(rate: int, bins: int, window: int) -> tuple[np.ndarray, np.ndarray, int]:
    """A window, the mel filters (size / 2 + 1, bins), and the size of the Fourier transform: a power of two."""
    from transformers.audio_utils import mel_filter_bank, window_function

    size = 1 << (window - 1).bit_length()
    filters = mel_filter_bank(
        num_frequency_bins=size // 2 + 1,
        num_mel_filters=bins,
        min_frequency=20,
        max_frequency=rate / 2,
        sampling_rate=rate,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    return window_function(window, "hann", periodic=False), filters, size


HOP, WINDOW = 160, 400  # of AST and Whisper, in samples at 16 kHz


def tower_features(tower: Tower) -> Features:
    """What the tower hears of a (S,) waveform: (S,) samples, normalised, or (F, bins) log-mel frames, filled up.

    Its own feature extractor is asked where it has one, otherwise the default one of its family. A model that hears
    a fixed number of frames gets the padding that it was trained with, whose values are not zero.
    """
    return _Extracted(_extractor(tower), tower.audio)


@dataclass(frozen=True, slots=True)
class _Extracted:
    """A feature extractor of transformers, called as its family wants."""

    extractor: Any
    audio: AudioSpec

    def __call__(self, waveform: np.ndarray) -> Heard:
        audio = self.audio
        options: dict[str, Any] = {"sampling_rate": audio.sampling_rate, "return_tensors": "np"}
        if audio.form == "log_mel" and audio.bins_first:
            assert audio.frames is not None, "Whisper hears a fixed number of frames"
            values = self.extractor(waveform, max_length=audio.frames * HOP, **options)["input_features"][0].T
            return Heard(values, -(-len(waveform) // HOP))
        values = self.extractor(waveform, **options)["input_values"][0]
        if audio.form == "waveform":
            return Heard(values, len(values))
        return Heard(values, frames_of(len(waveform), WINDOW, HOP))


def tower_limit(tower: Tower) -> int | None:
    """Most samples that a tower hears; None where it hears all."""
    audio = tower.audio
    if audio.frames is None:
        return None
    return audio.frames * HOP if audio.bins_first else WINDOW + (audio.frames - 1) * HOP


def _extractor(tower: Tower) -> Any:
    import transformers as library

    ref, audio = tower.ref, tower.audio
    if ref.settings is None:
        try:
            return library.AutoFeatureExtractor.from_pretrained(ref.id, revision=ref.revision)
        except (OSError, ValueError, KeyError):
            pass  # a folder of weights alone
    if audio.form == "waveform":
        return library.Wav2Vec2FeatureExtractor(sampling_rate=audio.sampling_rate)
    if audio.bins_first:
        return library.WhisperFeatureExtractor(feature_size=audio.bins, sampling_rate=audio.sampling_rate)
    return library.ASTFeatureExtractor(
        num_mel_bins=audio.bins, max_length=audio.frames or 1024, sampling_rate=audio.sampling_rate
    )
