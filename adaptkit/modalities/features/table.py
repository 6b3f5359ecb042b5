"""The keys of `kind = "features"`: features."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from adaptkit.kinds import Count
from adaptkit.recipe.cells import ARRAY, CellForm
from adaptkit.recipe.modality import EncoderSpec, ModalityTable, Pool, TowerOf, encoder_for


class FeaturesModality(ModalityTable):
    """Vectors computed elsewhere: (E,) or (T, E) per sample."""

    summary: ClassVar[str] = "vectors"
    model_input: ClassVar[str] = "features"
    cell_form: ClassVar[CellForm] = ARRAY
    reads: ClassVar[tuple[str, ...]] = ("features", "numbers", "number", "path", "array", "arrays")

    width: Count = Field(examples=[4096], description="E, length of one vector.")
    max_tokens: Count | None = Field(
        default=None,
        examples=[8],
        description="T, most vectors kept of a sample. Default: as many as the data has.",
    )
    keep: Literal["first", "last", "middle", "even"] = Field(
        default="first", description="Which vectors of a longer sample are kept."
    )
    standardise: bool = Field(
        default=False,
        description="Every channel less its mean over the vectors of the training split, divided by its standard "
        "deviation there, as the numbers of a table are.",
    )
    encoder: Annotated[EncoderSpec, encoder_for("features")] | None = Field(
        default=None, description="What makes tokens of the values, without a tower. Default: the vectors as they are."
    )
    pool: Pool = "none"
    tower: TowerOf = None

    @property
    def _example(self) -> tuple[str, str]:
        return f"[0.0] * {self.width}", "a list, an array or the path of an .npy file"
