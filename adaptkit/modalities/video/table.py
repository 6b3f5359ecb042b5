"""The keys of `kind = "video"`: video."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from adaptkit.kinds import Count
from adaptkit.modalities.pixel_keys import PerChannel, Size, Std, pixels_fit
from adaptkit.recipe.cells import CellForm
from adaptkit.recipe.modality import EncoderSpec, ModalityTable, Pool, TowerOf, encoder_for
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Written, WrittenRecipe


class VideoModality(ModalityTable):
    """A video: a file, a folder of frames or an array of frames; one token per frame."""

    model_input: ClassVar[str] = "image"
    cell_form: ClassVar[CellForm] = CellForm("file", folders=True)
    reads: ClassVar[tuple[str, ...]] = ("path",)

    frames: Count = Field(default=8, description="F, how many frames are looked at.")
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
    std: Std = Field(
        default=None, examples=[0.5], description="Divides after scaling to 0..1. Default: the tower's, or 1."
    )
    encoder: Annotated[EncoderSpec, encoder_for("video")] | None = Field(
        default=None,
        description="What makes tokens of the frames, without a tower. Default: one token per frame, its pixels.",
    )
    pool: Pool = "none"
    tower: TowerOf = None

    @property
    def _example(self) -> tuple[str, str]:
        return '"video.mp4"', "a path, a folder of frames or an array"

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        yield from super().check(path, table, recipe)
        yield from pixels_fit(path, table)
