"""From whatever holds a sound to a (S,) array of mono samples at one sampling rate."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from math import gcd
from pathlib import Path
from reprlib import repr
from typing import Any

import numpy as np

from adaptkit.data.file_cells import unwrapped
from adaptkit.errors import DataError, UnavailableError
from adaptkit.modalities.arrays import finite

LONGEST = 2**26  # samples: 70 minutes at 16 kHz; more is neither read nor made at once
HIGHEST = 1_000_000  # Hz; the filter between two rates has a length of up to 20 times the higher
BLOCK = 2**20  # samples of all channels that are read at a time

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
        count = length if most is None else min(most, length)
        if count * max(rate / source, 1) > LONGEST:
            hint = f"Cut it, or set modality.{name}.seconds."
            raise DataError(f"{name} is too long: {length:,} samples at {source:,} Hz.", where=where, hint=hint)
        start = {"first": 0, "last": length - count, "middle": (length - count) // 2}[keep]
        return slice(start, start + count)

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
        _check_rate(source, name, where)
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
            rate = file.samplerate
            _check_rate(rate, name, where)
            wanted = part(file.frames, rate)
            file.seek(wanted.start)
            array = _mixed_down(file, wanted.stop - wanted.start)  # (N,)
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        raise DataError(f"{name}: {shown} is not readable sound: {error}.", where=where) from None
    if len(array) < wanted.stop - wanted.start:
        raise DataError(f"{name}: {shown} is cut off.", where=where)
    return array, rate


def _mixed_down(file: Any, count: int) -> np.ndarray:
    """(count,) float32, or fewer at the end of the file: the mean of the channels, block by block."""
    size, blocks = max(1, BLOCK // file.channels), []
    while count > 0:
        block = file.read(min(size, count), dtype="float32", always_2d=True)  # (n, C)
        if not len(block):
            break
        blocks.append(block.mean(axis=1))
        count -= len(block)
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _check_rate(rate: Any, name: str, where: str) -> None:
    if not isinstance(rate, int) or isinstance(rate, bool) or not 1 <= rate <= HIGHEST:
        hint = f"It is a whole number in Hz, at most {HIGHEST:,}."
        raise DataError(f"{name} has the sampling rate {repr(rate)}.", where=where, hint=hint)


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
