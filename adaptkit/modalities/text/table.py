"""The keys of `kind = "text"`: text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from adaptkit.errors import nearest
from adaptkit.kinds import Count
from adaptkit.kinds.words import in_toml
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
    parts: dict[str, str] = Field(
        default={},
        examples=[{"subtitles": "[Subs] {}", "question": "[Q] {}"}],
        description="Columns that make the text together, in this order, and what is written of each: {} is its text. "
        "One that is absent in a sample leaves nothing behind. Default: the text lies in a column of its own.",
    )
    cut: list[str] = Field(
        default=[],
        examples=[["subtitles"]],
        description="The parts that give way where the text has more than max_tokens, the first first, by whole words; "
        "keep says what is left of them. The other parts are then never cut. Default: the whole text is cut.",
    )
    pool: Pool = "none"
    tower: TowerOf = None

    @property
    def cells(self) -> tuple[str, ...]:
        return () if self.column is not None else tuple(self.parts)

    def examples(self, name: str) -> Iterator[tuple[str, str, str]]:
        yield from ((cell, '"some text"', "a text; None if absent") for cell in self.cells)
        if not self.cells:
            yield from super().examples(name)

    @property
    def _example(self) -> tuple[str, str]:
        return '"some text"', "a text"

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        yield from super().check(path, table, recipe)
        if table["tower"] is None and table["route"] in ("tokens", "query", "side", "fusion"):
            hint = 'Write tower = { model = "bert-base" } or another text model, or route = "backbone".'
            yield Finding((*path, "route"), "only the backbone reads text without a tower.", hint)
        yield from cls._check_parts(path, table)

    @classmethod
    def _check_parts(cls, path: Path, table: Written) -> Iterator[Finding]:
        parts = table["parts"] if isinstance(table["parts"], dict) else {}
        for name, form in parts.items():
            if isinstance(form, str) and form.count("{}") != 1:
                hint = f'Write {name} = "{{}}", or with a label: "[{name.capitalize()}] {{}}".'
                yield Finding((*path, "parts", name), "needs one {} for the text of the column.", hint)
        if parts and table.is_written("column"):
            yield Finding((*path, "column"), "parts names the columns already.", "Leave one of the two out.")
        for index, name in enumerate(table.words("cut")):
            if name not in parts:
                hint = nearest(name, parts) if parts else f'Write parts = {{ {name} = "{{}}", ... }} as well.'
                yield Finding((*path, "cut", index), f"{in_toml(name)} is no part of the text.", hint)

    free_keys: ClassVar[frozenset[str]] = ModalityTable.free_keys | {"parts", "cut"}
    model_input: ClassVar[str] = "text"
    cell_form: ClassVar[CellForm] = TEXT
    reads: ClassVar[tuple[str, ...]] = ("text", "label")
