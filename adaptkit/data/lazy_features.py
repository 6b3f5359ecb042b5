"""Ragged arrays of vectors, memory-mapped: `values` (S, E) and `offsets` (N+1,) in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.errors import DataError

# N samples, S vectors of all samples, E width

_HEADER = 512  # bytes, reserved so that the values can be written before their number is known


class FeatureWriter:
    """Writes one sample after the other; an absent one is a sample without vectors.

    Args:
        path: of the new file.
        width: E; None: that of the first sample.
    """

    def __init__(self, path: Path, width: int | None = None) -> None:
        self.path, self.width = path, width
        self.offsets = [0]
        self._file = path.open("wb")
        self._file.write(b" " * _HEADER)

    def add(self, array: Any, where: str) -> None:
        """Append a sample: (E,), (T, E) or None.

        Raises:
            DataError: another shape or width, or values that are not numbers or not finite.
        """
        if array is not None:
            vectors = _vectors(array, where)
            if self.width is None:
                self.width = vectors.shape[1]
            if vectors.shape[1] != self.width:
                raise DataError(f"vectors of width {vectors.shape[1]}, not {self.width} as before.", where=where)
            if not np.isfinite(vectors).all():
                raise DataError("NaN or infinity among the vectors.", where=where)
            self._file.write(vectors.tobytes())
            self.offsets.append(self.offsets[-1] + len(vectors))
        else:
            self.offsets.append(self.offsets[-1])

    def close(self) -> None:
        """Write the offsets and the header."""
        width, rows = self.width or 0, self.offsets[-1]
        if rows * width % 2:  # a row that no offset names, so that the offsets lie on a multiple of 8 bytes
            self._file.write(b"\0" * 4 * width)
            rows += 1
        split, end = rows * width * 4, rows * width * 4 + len(self.offsets) * 8
        self._file.write(np.asarray(self.offsets, dtype="<i8").tobytes())
        header = {
            "values": {"dtype": "F32", "shape": [rows, width], "data_offsets": [0, split]},
            "offsets": {"dtype": "I64", "shape": [len(self.offsets)], "data_offsets": [split, end]},
        }
        text = json.dumps(header, separators=(",", ":")).encode()
        self._file.seek(0)
        self._file.write((_HEADER - 8).to_bytes(8, "little") + text.ljust(_HEADER - 8))
        self._file.close()


class Features(Sequence[np.ndarray | None]):
    """The samples of such a file: (T, E) arrays, None where absent. Only the offsets are in memory.

    Raises:
        DataError: the file is missing, truncated or something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if not 2 <= length <= 1 << 20:
                    raise ValueError("it has no header")
                header = json.loads(file.read(length))
            values, offsets = header["values"], header["offsets"]
            start, self.width = 8 + length, int(values["shape"][1])
            if values["dtype"] != "F32" or offsets["dtype"] != "I64" or start + offsets["data_offsets"][1] != size:
                raise ValueError("its header and its size disagree")
            place = start + offsets["data_offsets"][0]
            self.offsets = np.fromfile(path, dtype="<i8", count=offsets["shape"][0], offset=place)
            shape = (int(values["shape"][0]), self.width)
            if len(self.offsets) == 0 or (np.diff(self.offsets) < 0).any() or self.offsets[-1] > shape[0]:
                raise ValueError("its offsets are wrong")
            if 0 in shape:
                self.values: np.ndarray = np.empty(shape, dtype=np.float32)
            else:
                place = start + values["data_offsets"][0]
                self.values = np.memmap(path, dtype="<f4", mode="r", offset=place, shape=shape)
        except (OSError, ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
            raise DataError(f"is not a readable file of features: {error}.", where=str(path)) from None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index = int(index) % len(self)
        start, end = self.offsets[index], self.offsets[index + 1]
        return np.array(self.values[start:end]) if end > start else None  # a copy: torch wants it writable

    @property
    def lengths(self) -> np.ndarray:
        """(N,) T of each sample, 0 where it is absent."""
        return np.diff(self.offsets)

    def __reduce__(self) -> Any:
        return Features, (self.path,)


def _vectors(array: Any, where: str) -> np.ndarray:
    try:
        vectors = np.asarray(array, dtype="<f4")
    except (TypeError, ValueError):
        raise DataError("this is not an array of numbers.", where=where) from None
    if vectors.ndim not in (1, 2) or 0 in vectors.shape:
        raise DataError(f"an array of shape {vectors.shape}; expected (E,) or (T, E).", where=where)
    return np.atleast_2d(vectors)
