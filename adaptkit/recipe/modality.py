"""`[modality.NAME]`: the named input streams of a sample, one class per kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from adaptkit.recipe.table import Table
from adaptkit.recipe.tower import TowerSpec


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


Pool = Annotated[
    Literal["none", "mean", "max", "first", "attention"],
    Field(
        description="How the T vectors of a sample become one; with none, all T are kept. "
        '"attention": weighted by a learned query.'
    ),
]
TowerOf = Annotated[
    TowerSpec | None,
    Field(description="A pretrained model of its own that turns the input into vectors. Default: none."),
]


class ModalityTable(Table):
    """The keys that every modality has."""

    kind: str = Field(examples=["text"], description="What the column holds.")
    route: Literal["backbone", "tokens", "side", "fusion", "query"] = Field(
        examples=["side"],
        description='Where its vectors go: "backbone" (its native input), "tokens" (projected into its input '
        'sequence), "side" (side input of adapters), "fusion" (meets the others after the backbone), "query" (read '
        "by a retrieval task only).",
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
    train: bool = Field(
        default=True,
        description="Whether the parameters of its own learn: the learned stand-in, attention pooling, embeddings, "
        "the projection into the sequence. Not the tower's, which has a key of its own.",
    )


class TextModality(ModalityTable):
    """Text, tokenised for the backbone, or for a tower of its own."""

    kind: Literal["text"] = Field(examples=["text"], description="Text.")
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        examples=[128],
        description="Longest text in tokens. Default: what the backbone, or the tower, allows.",
    )
    keep: Literal["first", "last", "middle"] = Field(
        default="first", description="Which tokens of a longer text are kept; the special ones always are."
    )
    pool: Pool = "none"
    tower: TowerOf = None


class ImageModality(ModalityTable):
    """An image: an array in the data or the path of a file."""

    kind: Literal["image"] = Field(examples=["image"], description="An image: an array or a file.")
    encoder: Literal["pixels", "rows", "patches"] = Field(
        default="pixels",
        description='"pixels": all pixels as one vector (route "backbone", or a tower: as they read images), '
        '"rows": one token per row, "patches": one token per square patch.',
    )
    patch: int = Field(default=16, ge=1, description='Side of a patch in pixels, for encoder "patches".')
    size: Size = Field(
        default=None,
        examples=[[28, 28]],
        description="Resize to this side, or [height, width]. Default: what the backbone, or the tower, reads.",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="1 grey, 3 colour. Default: what the backbone, or the tower, reads, or 3."
    )
    mean: PerChannel = Field(
        default=None,
        examples=[0.5],
        description="Subtracted after scaling to 0..1. Default: that of the backbone, or of the tower, or 0.",
    )
    std: Annotated[PerChannel, AfterValidator(_positive)] = Field(
        default=None,
        examples=[0.5],
        description="Divides after scaling to 0..1. Default: that of the backbone, or of the tower, or 1.",
    )
    pool: Pool = "none"
    tower: TowerOf = None


class AudioModality(ModalityTable):
    """Sound: a file (wav, flac, ogg) or an array of samples, as log-mel frames or through a tower."""

    kind: Literal["audio"] = Field(examples=["audio"], description="Sound: a file or an array of samples.")
    encoder: Literal["log_mel"] = Field(
        default="log_mel", description="Without a tower: one token per frame, the logarithm of its mel spectrum."
    )
    sampling_rate: int | None = Field(
        default=None,
        ge=1000,
        examples=[16000],
        description="Samples per second; files are resampled, arrays are taken to have it. Default: the tower's, or "
        "16000.",
    )
    seconds: float | None = Field(
        default=None, gt=0, examples=[10.0], description="Longest clip kept. Default: what the tower reads, or all."
    )
    keep: Literal["first", "last", "middle"] = Field(
        default="first", description="Which part of a longer clip is kept."
    )
    bins: int = Field(default=80, ge=1, description='Mel bands, the width of a token of "log_mel".')
    hop: float = Field(default=10.0, gt=0, description='Milliseconds between the frames of "log_mel".')
    window: float = Field(default=25.0, gt=0, description='Milliseconds that one frame of "log_mel" sees.')
    pool: Pool = "none"
    tower: TowerOf = None


class VideoModality(ModalityTable):
    """A video: a file, a folder of frames or an array of frames; one token per frame."""

    kind: Literal["video"] = Field(examples=["video"], description="A video: a file, a folder of frames or an array.")
    frames: int = Field(default=8, ge=1, description="F, how many frames are looked at.")
    keep: Literal["even", "first", "middle", "last"] = Field(
        default="even", description="Which frames: evenly spaced over the video, or F in a row."
    )
    size: Size = Field(
        default=None,
        examples=[[32, 32]],
        description="Resize to this side, or [height, width]. Default: what the tower reads.",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="1 grey, 3 colour. Default: what the tower reads, or 3."
    )
    mean: PerChannel = Field(
        default=None, examples=[0.5], description="Subtracted after scaling to 0..1. Default: the tower's, or 0."
    )
    std: Annotated[PerChannel, AfterValidator(_positive)] = Field(
        default=None, examples=[0.5], description="Divides after scaling to 0..1. Default: the tower's, or 1."
    )
    pool: Pool = "none"
    tower: TowerOf = None


class TableModality(ModalityTable):
    """Numbers and categories of several columns, standardised and sorted by the training split."""

    kind: Literal["table"] = Field(examples=["table"], description="Numbers and categories of several columns.")
    columns: list[str] = Field(default=[], examples=[["age", "income"]], description="Columns of numbers.")
    categorical: list[str] = Field(default=[], examples=[["country"]], description="Columns of categories.")
    categories: int = Field(
        default=32,
        ge=1,
        description="Most categories kept of a column, the commonest; all others count as one, the unknown.",
    )
    embedding: int | None = Field(
        default=None, ge=1, examples=[8], description="Width of a learned vector per category. Default: one-hot."
    )
    tokens: Literal["one", "columns"] = Field(
        default="one", description='"one" vector of all columns side by side, or one token per column.'
    )
    width: int = Field(default=64, ge=1, description='E, width of the tokens, for tokens "columns".')
    pool: Pool = "none"


class FeaturesModality(ModalityTable):
    """Vectors computed elsewhere: (E,) or (T, E) per sample."""

    kind: Literal["features"] = Field(examples=["features"], description="Vectors computed elsewhere.")
    width: int = Field(ge=1, examples=[4096], description="E, length of one vector.")
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        examples=[8],
        description="T, most vectors kept of a sample. Default: as many as the data has.",
    )
    keep: Literal["first", "last", "middle", "even"] = Field(
        default="first", description="Which vectors of a longer sample are kept."
    )
    pool: Pool = "none"
    tower: TowerOf = None


Modality = Annotated[
    TextModality | ImageModality | AudioModality | VideoModality | TableModality | FeaturesModality,
    Field(discriminator="kind"),
]
