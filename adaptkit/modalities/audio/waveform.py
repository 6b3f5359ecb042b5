"""From whatever holds a sound to a (S,) array of mono samples at one sampling rate."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.data.file_cells import unwrapped
from adaptkit.errors import DataError, UnavailableError
from adaptkit.modalities.encoder import finite, kept

# S samples at the rate that is wanted, N samples of the source, C channels


def read_waveform(value: Any, rate: int, limit: int | None, keep: str, *, name: str, where: str) -> np.ndarray:
    """(S,) float32, the mean of the channels, resampled. Of a file, only what is kept is read.

    Args:
        value: a path, the bytes of a file, also as {"bytes": ...}, {"array": ..., "sampling_rate": ...}, or an array
            (N,), (N, C) or (C, N) taken to be at `rate`. Integers are scaled by their type's range to -1..1.
        rate: samples per second that are wanted.
        limit: most of S; None for all.
        keep: which part of a longer sound: `first`, `last` or `middle`.
        name: of the modality.
        where: place of the value, for errors.

    Raises:
        DataError: no sound, none in it, or NaN.
        UnavailableError: a file, without soundfile.
    """

    def part(length: int, source: int) -> slice:
        """The samples of the source that are kept."""
        most = None if limit is None else -(-limit * source // rate)  # rounded up
        start = int(kept(length, most, keep)[0]) if length else 0
        return slice(start, length if most is None else min(start + most, length))

    samples, source = _samples(value, rate, part, name, where)
    if not len(samples):
        raise DataError(f"{name} is empty: it has no sample.", where=where)
    return finite(resampled(samples, source, rate)[:limit], name, where)


def waveform_length(value: Any, rate: int, *, name: str, where: str) -> int:
    """S of the whole sound; of a file, from its header.

    Raises:
        DataError: as `read_waveform`.
    """
    lengths: list[int] = []

    def part(length: int, source: int) -> slice:
        lengths.append(-(-length * rate // source))
        return slice(0, 0)

    _samples(value, rate, part, name, where)
    return lengths[0]


def resampled(samples: np.ndarray, source: int, rate: int) -> np.ndarray:
    """(N,) at one rate -> (S,) at another, S = N * rate / source rounded up, by a polyphase filter."""
    if source == rate:
        return samples
    from scipy.signal import resample_poly

    common = gcd(source, rate)
    return resample_poly(samples, rate // common, source // common).astype(np.float32)


Part = Callable[[int, int], slice]


def _samples(value: Any, rate: int, part: Part, name: str, where: str) -> tuple[np.ndarray, int]:
    """(N,) float32 of what is kept, and their rate."""
    value = unwrapped(value, name, where) if isinstance(value, Mapping) else value
    if isinstance(value, dict):
        source = value.get("sampling_rate", rate)
        if not isinstance(source, int) or source < 1:
            raise DataError(
                f"{name} has the sampling rate {source!r}.", where=where, hint="It is a whole number, in Hz."
            )
        return _from_array(value["array"], source, part, name, where), source
    if isinstance(value, str | Path | bytes):
        return _from_file(value, part, name, where)
    return _from_array(value, rate, part, name, where), rate


def _is_cut_off(path: Path) -> bool:
    """A .wav with less in it than its head says, of which the library would read what is there."""
    with path.open("rb") as file:
        head = file.read(8)
    size = int.from_bytes(head[4:], "little")
    # Programs that write into a pipe leave the size at its highest.
    return head[:4] == b"RIFF" and size < 2**32 - 2**16 and path.stat().st_size + 1 < size + 8


def _from_file(source: Any, part: Part, name: str, where: str) -> tuple[np.ndarray, int]:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: without its library of C
        hint = 'Run pip install "adaptkit[audio]".'
        raise UnavailableError(f"{name}: reading sound needs soundfile.", where=where, hint=hint) from None
    shown = "the sound" if isinstance(source, bytes) else source
    if isinstance(source, str | Path) and not Path(source).is_file():
        raise DataError(f"{name}: the file {source} does not exist.", where=where)
    if isinstance(source, str | Path) and _is_cut_off(Path(source)):
        raise DataError(f"{name}: {shown} is cut off.", where=where)
    try:
        with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
            wanted = part(file.frames, file.samplerate)
            file.seek(wanted.start)
            array = file.read(wanted.stop - wanted.start, dtype="float32", always_2d=True)  # (N, C)
            rate = file.samplerate
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        raise DataError(f"{name}: {shown} is not readable sound: {error}.", where=where) from None
    if len(array) < wanted.stop - wanted.start:
        raise DataError(f"{name}: {shown} is cut off.", where=where)
    return array.mean(axis=1), rate


def _from_array(value: Any, rate: int, part: Part, name: str, where: str) -> np.ndarray:
    try:
        array = np.asarray(value)
        whole, limits = array.dtype.kind in "iu", array.dtype
        with np.errstate(over="ignore"):  # what is too large is infinite, and refused as that
            array = array.astype(np.float32)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{name} is not an array of numbers.", where=where) from None
    if array.ndim not in (1, 2):
        raise DataError(f"{name} has shape {array.shape}; expected (N,) or (N, channels).", where=where)
    if whole and limits.itemsize < 8:  # a list of Python's integers has no range of its own
        middle = 2.0 ** (8 * limits.itemsize - 1)
        array = (array - middle if limits.kind == "u" else array) / np.float32(middle)
    if array.ndim == 2:
        array = array.mean(axis=int(np.argmin(array.shape)))
    return array[part(len(array), rate)]
