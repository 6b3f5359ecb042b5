"""The keys of `kind = "text"`: text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from adaptkit.kinds import Count
from adaptkit.recipe.cells import TEXT, CellForm
from adaptkit.recipe.modality import ModalityTable, Pool, TowerOf
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Written, WrittenRecipe


class TextModality(ModalityTable):
    """Text, tokenised for the backbone, or for a tower of its own."""

    native: ClassVar[bool] = True
    sequence: ClassVar[bool] = True
    summary: ClassVar[str] = "text"

    max_tokens: Count | None = Field(
        default=None,
        examples=[128],
        description="Longest text in tokens. Default: what the backbone, or the tower, allows.",
    )
    keep: Literal["first", "last", "middle"] = Field(
        default="first", description="Which tokens of a longer text are kept; the special ones always are."
    )
    pool: Pool = "none"
    tower: TowerOf = None

    @property
    def _example(self) -> tuple[str, str]:
        return '"some text"', "a text"

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        yield from super().check(path, table, recipe)
        if table["tower"] is None and table["route"] in ("tokens", "query", "side", "fusion"):
            hint = 'Write tower = { model = "bert-base" } or another text model, or route = "backbone".'
            yield Finding((*path, "route"), "only the backbone reads text without a tower.", hint)

    model_input: ClassVar[str] = "text"
    cell_form: ClassVar[CellForm] = TEXT
    reads: ClassVar[tuple[str, ...]] = ("text", "label")
