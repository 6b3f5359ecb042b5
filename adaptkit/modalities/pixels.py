"""From whatever holds an image to a (C, H, W) array of 0..1, and from there to what a model reads."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adaptkit.data.file_cells import unwrapped
from adaptkit.errors import DataError, RecipeError

# C channels, H height, W width

STRIP, LARGEST = 2**20, 2**26  # pixels: that are floats at a time, and of a picture whose rows are resized

# Not every format of Pillow's: PostScript, for one, is a program, which it hands to Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA", "ICO")


@dataclass(frozen=True, slots=True)
class Pixels:
    """The form of an image that a model, or an encoder, wants.

    Attributes:
        size: (H, W); None keeps that of the image.
        channels: C, 1 or 3.
        mean: per channel, subtracted from values of 0..1.
        std: per channel, divides.
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, modality: Any, name: str, reader: Any) -> Pixels:
        """What the recipe says, and what it leaves out as the reader has it.

        Args:
            modality: table with `size`, `channels`, `mean` and `std`.
            name: of the modality.
            reader: backbone or tower with the same four as attributes (`image_size`); None for nobody.

        Raises:
            RecipeError: the recipe says something else than the reader needs, or no size.
        """
        where = f"modality.{name}"
        size = modality.size
        if size is None and reader is None:
            raise RecipeError(
                "size is needed: the width of the tokens follows from it.",
                where=f"{where}.size",
                hint="For example size = 32.",
            )
        height, width = reader.image_size if size is None else (size, size) if isinstance(size, int) else size
        who = "" if reader is None else f"the {'tower' if modality.tower is not None else 'backbone'} reads images of"
        if reader is not None and (height, width) != tuple(reader.image_size):
            raise RecipeError(f"{who} {reader.image_size}, not {(height, width)}.", where=f"{where}.size")
        channels = modality.channels or (3 if reader is None else reader.channels)
        if reader is not None and channels != reader.channels:
            raise RecipeError(f"{who} {reader.channels} channels, not {channels}.", where=f"{where}.channels")
        mean = per_channel(modality.mean, (0.0,) if reader is None else reader.mean, channels, f"{where}.mean")
        std = per_channel(modality.std, (1.0,) if reader is None else reader.std, channels, f"{where}.std")
        return cls((height, width), channels, mean, std)

    def read(self, value: Any, *, name: str, where: str) -> np.ndarray:
        """(C, H, W) float32, normalised.

        Raises:
            DataError: as `read_image`.
        """
        image = read_image(value, self.channels, self.size, name=name, where=where)
        mean, std = (np.array(x, dtype=np.float32)[:, None, None] for x in (self.mean, self.std))
        return (image - mean) / std


def per_channel(
    value: float | list[float] | None, default: tuple[float, ...], channels: int, where: str
) -> tuple[float, ...]:
    """One number per channel.

    Raises:
        RecipeError: another number of them.
    """
    numbers = default if value is None else (value,) if isinstance(value, int | float) else tuple(value)
    if len(numbers) == 1:
        return numbers * channels
    if len(numbers) != channels:
        raise RecipeError(f"{len(numbers)} numbers for {channels} channels.", where=where)
    return numbers


def read_image(value: Any, channels: int, size: tuple[int, int] | None, *, name: str, where: str) -> np.ndarray:
    """(C, H, W) float32, values 0..1, resized (bilinear, the aspect ratio is not kept) if a size is given.

    Args:
        value: a path, the bytes of a file, also as {"bytes": ...}, an image of Pillow, or an array (H, W), (H, W, C)
            or (C, H, W). Integers count as 0..255, floats as 0..1. Files are read in the formats of `FORMATS`.
        channels: 1 (grey) or 3 (colour); a grey image is repeated, a colour image is weighed (ITU-R 601).
        size: (H, W), or None to keep it.

    Raises:
        DataError: not an image, a file that is cut off or too large to be one, or values outside the range.
    """
    if isinstance(value, dict):
        value = unwrapped(value, name, where)
        value = value["array"] if isinstance(value, dict) else value
    if isinstance(value, str | Path | bytes | Image.Image):
        return _from_file(value, channels, size, name, where)
    image = _with_channels(_from_array(value, name, where), channels)
    return image if size is None or image.shape[1:] == tuple(size) else _resized(image, size)


@cache
def formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _from_file(source: Any, channels: int, size: tuple[int, int] | None, name: str, where: str) -> np.ndarray:
    shown = source if isinstance(source, str | Path) else "the image"
    try:
        with warnings.catch_warnings():
            # Pillow warns of what is likely a decompression bomb and stops at twice that; here both stop.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if isinstance(source, Image.Image):
                return _decoded(source, channels, size)
            content = io.BytesIO(source) if isinstance(source, bytes) else source
            with Image.open(content, formats=formats()) as image:
                return _decoded(image, channels, size)
    except FileNotFoundError:
        raise DataError(f"{name}: the file {source} does not exist.", where=where) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = f"Images may have {Image.MAX_IMAGE_PIXELS:,} pixels." if Image.MAX_IMAGE_PIXELS else ""
        raise DataError(f"{name}: {shown} is too large for an image: {error}", where=where, hint=limit) from None
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, AttributeError, struct.error) as error:
        raise DataError(f"{name}: {shown} is not a readable image: {error}.", where=where) from None


def _decoded(image: Image.Image, channels: int, size: tuple[int, int] | None) -> np.ndarray:
    """(C, H, W) of 0..1, resized strip by strip, so that a large photograph is in memory as bytes only.

    Pillow resizes the rows first and then the columns, so this is what it makes of the whole, to the bit.
    """
    width, height = image.size
    if size is None or (height, width) == tuple(size):
        return _with_channels(_pixels(image), channels)
    if height * size[1] > LARGEST:
        raise ValueError(f"{width} x {height} pixels cannot be resized to a width of {size[1]}")
    step = max(1, STRIP // width)
    strips = (image.crop((0, y, width, min(y + step, height))) for y in range(0, height, step))
    rows = [_resized(_with_channels(_pixels(part), channels), (part.height, size[1])) for part in strips]
    return _resized(np.concatenate(rows, axis=1), size)


def _pixels(image: Image.Image) -> np.ndarray:
    """(1, H, W) or (3, H, W) of 0..1."""
    if image.mode.startswith("I;16"):  # Pillow would cut off at 255
        return np.asarray(image, dtype=np.float32)[None] / 65535.0
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image.convert("L"), dtype=np.float32)[None] / 255.0
    return np.asarray(image.convert("RGB"), dtype=np.float32).transpose(2, 0, 1) / 255.0


def _from_array(value: Any, name: str, where: str) -> np.ndarray:
    try:
        array = np.asarray(value)
        whole = array.dtype.kind in "iu"
        with np.errstate(over="ignore"):  # what is too large is infinite, and refused as that
            array = array.astype(np.float32)
    except (TypeError, ValueError, OverflowError):
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
