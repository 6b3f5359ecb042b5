"""Keys that images and the frames of videos share: size, channels, normalisation."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Interval
from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from adaptkit.kinds.key import Number


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


Side = Annotated[int, Interval(ge=1, le=16_384)]
Size = Annotated[Side | list[Side] | None, BeforeValidator(_size)]
PerChannel = Annotated[Number | list[Number] | None, BeforeValidator(_per_channel)]
Std = Annotated[PerChannel, AfterValidator(_positive)]
