"""`[modality.NAME]`: the named input streams of a sample, one class per kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from adaptkit.recipe.table import Table


def _size(value: Any) -> Any:
    """`size = 28` is short for `[28, 28]`; it stays as written, only its form is checked."""
    sides = value if isinstance(value, list) else [value]
    whole = all(isinstance(side, int) and not isinstance(side, bool) and side >= 1 for side in sides)
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


Size = Annotated[int | list[int] | None, BeforeValidator(_size)]
PerChannel = Annotated[float | list[float] | None, BeforeValidator(_per_channel)]


class ModalityTable(Table):
    """The keys that every modality has."""

    kind: str = Field(examples=["text"], description="What the column holds.")
    route: Literal["backbone", "tokens", "side", "fusion"] = Field(
        examples=["side"],
        description='Where its vectors go: "backbone" (its native input), "tokens" (projected into its input '
        'sequence), "side" (side input of adapters), "fusion" (meets the others after the backbone).',
    )
    column: str | None = Field(default=None, description="Column of the data. Default: the modality's name.")
    missing: Literal["error", "zero", "mean", "learned"] = Field(
        default="error", description="What stands in for an absent value."
    )
    modality_dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description='Share of samples whose value is dropped in training; needs "missing".',
    )


class TextModality(ModalityTable):
    """Text, tokenised with the backbone's tokenizer."""

    kind: Literal["text"] = Field(examples=["text"], description="Text.")
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        examples=[128],
        description="Longest text in tokens. Default: the backbone's max_tokens.",
    )


class ImageModality(ModalityTable):
    """An image: an array in the data or the path of a file."""

    kind: Literal["image"] = Field(examples=["image"], description="An image: an array or a file.")
    encoder: Literal["pixels", "rows", "patches"] = Field(
        default="pixels",
        description='"pixels": all pixels as one vector (route "backbone": as the backbone reads images), '
        '"rows": one token per row, "patches": one token per square patch.',
    )
    patch: int = Field(default=16, ge=1, description='Side of a patch in pixels, for encoder "patches".')
    size: Size = Field(
        default=None,
        examples=[[28, 28]],
        description="Resize to this side, or [height, width]. Default: as it is.",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="1 grey, 3 colour. Default: what the backbone reads, or what the data has."
    )
    mean: PerChannel = Field(
        default=None,
        examples=[0.5],
        description='Subtracted after scaling to 0..1. Default: the backbone\'s (route "backbone"), or 0.',
    )
    std: Annotated[PerChannel, AfterValidator(_positive)] = Field(
        default=None,
        examples=[0.5],
        description='Divides after scaling to 0..1. Default: the backbone\'s (route "backbone"), or 1.',
    )


class FeaturesModality(ModalityTable):
    """Vectors computed elsewhere: (E,) or (T, E) per sample."""

    kind: Literal["features"] = Field(examples=["features"], description="Vectors computed elsewhere.")
    width: int = Field(ge=1, examples=[4096], description="E, length of one vector.")
    pool: Literal["none", "mean", "max", "first"] = Field(
        default="none", description="How T vectors become one; with none, all T are kept."
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        examples=[8],
        description="T, most vectors kept of a sample. Default: as many as the data has.",
    )


Modality = Annotated[TextModality | ImageModality | FeaturesModality, Field(discriminator="kind")]
