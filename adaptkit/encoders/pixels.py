"""From whatever holds an image to a (C, H, W) array of 0..1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from adaptkit.errors import DataError

# C channels, H height, W width


def read_image(value: Any, channels: int, size: tuple[int, int] | None, *, name: str, where: str) -> np.ndarray:
    """(C, H, W) float32, values 0..1, resized (bilinear, the aspect ratio is not kept) if a size is given.

    Args:
        value: a path, or an array (H, W), (H, W, C) or (C, H, W). Integers count as 0..255, floats as 0..1.
        channels: 1 (grey) or 3 (colour); a grey image is repeated, a colour image is weighed (ITU-R 601).
        size: (H, W), or None to keep it.

    Raises:
        DataError: not an image, or values outside the range.
    """
    image = _from_file(value, name, where) if isinstance(value, str | Path) else _from_array(value, name, where)
    image = _with_channels(image, channels)
    return image if size is None or image.shape[1:] == tuple(size) else _resized(image, size)


def _from_file(path: str | Path, name: str, where: str) -> np.ndarray:
    try:
        with Image.open(path) as image:
            grey = image.mode in ("1", "L", "LA")
            array = np.asarray(image.convert("L" if grey else "RGB"), dtype=np.float32) / 255.0
    except FileNotFoundError:
        raise DataError(f"{name}: the file {path} does not exist.", where=where) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: {path} is not a readable image: {error}.", where=where) from None
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)  # (C, H, W)


def _from_array(value: Any, name: str, where: str) -> np.ndarray:
    try:
        array = np.asarray(value)
        whole = array.dtype.kind in "iu"
        array = array.astype(np.float32)
    except (TypeError, ValueError):
        raise DataError(f"{name} is not an array of numbers.", where=where) from None
    array = _channels_first(array, name, where)
    array, top = (array / 255.0, "255, as integers") if whole else (array, "1, as floats")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise DataError(f"{name} has values outside 0 to {top} should be.", where=where)
    return array


def _channels_first(array: np.ndarray, name: str, where: str) -> np.ndarray:
    if array.size and array.ndim == 2:
        return array[None]  # (1, H, W)
    if array.size and array.ndim == 3 and array.shape[0] in (1, 3):
        return array
    if array.size and array.ndim == 3 and array.shape[2] in (1, 3):
        return array.transpose(2, 0, 1)
    raise DataError(f"{name} has shape {array.shape}; expected (H, W), (H, W, C) or (C, H, W).", where=where)


def _with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    if len(image) == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=0)
    return np.tensordot(np.array([0.299, 0.587, 0.114], dtype=np.float32), image, axes=1)[None]


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    planes = [
        Image.fromarray(np.ascontiguousarray(plane)).resize((width, height), Image.Resampling.BILINEAR)
        for plane in image
    ]
    return np.stack([np.asarray(plane, dtype=np.float32) for plane in planes])
