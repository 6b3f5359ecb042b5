"""The keys of `kind = "image"`: images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from adaptkit.kinds import Count
from adaptkit.modalities.pixel_keys import PerChannel, Size, Std, pixels_fit
from adaptkit.recipe.cells import FILE, CellForm
from adaptkit.recipe.modality import EncoderSpec, ModalityTable, Pool, TowerOf, encoder_for, kind_of
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Written, WrittenRecipe


class ImageModality(ModalityTable):
    """An image: an array in the data or the path of a file."""

    native: ClassVar[bool] = True

    encoder: Annotated[EncoderSpec, encoder_for("image")] = Field(
        default=EncoderSpec(kind="pixels"),
        description='"pixels": all pixels as one vector (route "backbone", or a tower: as they read images), '
        '"rows": one token per row, "patches": one token per square patch.',
    )
    patch: Count = Field(default=16, description='Side of a patch in pixels, for encoder "patches".')
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
    std: Std = Field(
        default=None,
        examples=[0.5],
        description="Divides after scaling to 0..1. Default: that of the backbone, or of the tower, or 1.",
    )
    pool: Pool = "none"
    tower: TowerOf = None

    @property
    def _example(self) -> tuple[str, str]:
        return '"image.png"', "a path, an image of Pillow or an array"

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        yield from super().check(path, table, recipe)
        yield from pixels_fit(path, table)
        if table["route"] == "backbone" and kind_of(table["encoder"]) != kind_of(cls.model_fields["encoder"].default):
            hint = 'Write encoder = "pixels", or route = "tokens" or "side".'
            yield Finding((*path, "encoder"), "a backbone makes its own tokens of an image.", hint)

    model_input: ClassVar[str] = "image"
    cell_form: ClassVar[CellForm] = FILE
    reads: ClassVar[tuple[str, ...]] = ("path",)
