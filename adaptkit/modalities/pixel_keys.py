"""Keys that images and the frames of videos share: size, channels, normalisation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

from annotated_types import Interval
from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from adaptkit.amounts import in_bytes
from adaptkit.kinds.key import Number
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Written


def _size(value: Any) -> Any:
    """`size = 28` is short for `[28, 28]`; it stays as written, only its form is checked."""
    sides = value if isinstance(value, list) else [value]
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if value is None or (whole and (not isinstance(value, list) or len(value) == 2)):
        return value
    raise PydanticCustomError("size", "should be a side in pixels, or [height, width]")


def _positive(value: Any) -> Any:
    """A standard deviation divides, so it cannot be zero."""
    values = value if isinstance(value, list) else [value]
    if any(number is not None and number <= 0 for number in values):
        raise PydanticCustomError("std", "should be greater than 0")
    return value


def _per_channel(value: Any) -> Any:
    """One number, or one per channel (1 or 3)."""
    numbers = value if isinstance(value, list) else [value]
    plain = all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers)
    if value is None or (plain and len(numbers) in (1, 3)):
        return value
    raise PydanticCustomError("per_channel", "should be a number, or a list with one number per channel")


LARGEST = 2**27  # numbers of one sample: half a gigabyte, 6,600 x 6,600 pixels in colour


def pixels_fit(path: Path, table: Written) -> Iterator[Finding]:
    """Sides that are fine alone can make an image, or a video, that no batch has room for."""
    size = table["size"]
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    counts = [height, width, table.get("frames", 1), table["channels"] or 3]
    if all(type(count) is int and count > 0 for count in counts) and math.prod(counts) > LARGEST:
        shape = " x ".join(f"{count:,}" for count in counts if count != 1)
        message = f"one sample has {shape} numbers, {in_bytes(4 * math.prod(counts))}."
        yield Finding((*path, "size"), message, "Write a smaller size; models read some hundred pixels a side.")


Side = Annotated[int, Interval(ge=1, le=16_384)]
Size = Annotated[Side | list[Side] | None, BeforeValidator(_size)]
PerChannel = Annotated[Number | list[Number] | None, BeforeValidator(_per_channel)]
Std = Annotated[PerChannel, AfterValidator(_positive)]
