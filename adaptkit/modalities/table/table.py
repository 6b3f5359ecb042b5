"""The keys of `kind = "table"`: tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from adaptkit.kinds import Count
from adaptkit.kinds.words import in_toml
from adaptkit.recipe.cells import CellForm
from adaptkit.recipe.modality import EncoderSpec, ModalityTable, Pool, encoder_for
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Written, WrittenRecipe


class TableModality(ModalityTable):
    """Numbers and categories of several columns, standardised and sorted by the training split."""

    cell_form: ClassVar[CellForm] = CellForm("file", keys=True, mappings=True)

    columns: list[str] = Field(default=[], examples=[["age", "income"]], description="Columns of numbers.")
    categorical: list[str] = Field(default=[], examples=[["country"]], description="Columns of categories.")
    categories: Count = Field(
        default=32,
        description="Most categories kept of a column, the commonest; all others count as one, the unknown.",
    )
    embedding: Count | None = Field(
        default=None, examples=[8], description="Width of a learned vector per category. Default: one-hot."
    )
    tokens: Literal["one", "columns"] = Field(
        default="one", description='"one" vector of all columns side by side, or one token per column.'
    )
    width: Count = Field(default=64, description='E, width of the tokens, for tokens "columns".')
    encoder: Annotated[EncoderSpec, encoder_for("table")] | None = Field(
        default=None, description="What makes tokens of the values. Default: as `tokens` says."
    )
    pool: Pool = "none"

    @property
    def cells(self) -> tuple[str, ...]:
        return () if self.column is not None else (*self.columns, *self.categorical)

    def examples(self, name: str) -> Iterator[tuple[str, str, str]]:
        if self.column is None:
            yield from ((cell, "1.0", "a number; None if absent") for cell in self.columns)
            yield from ((cell, '"a"', "a category; None if absent") for cell in self.categorical)
        else:
            yield from super().examples(name)

    @property
    def _example(self) -> tuple[str, str]:
        values = [f"{in_toml(cell)}: 1.0" for cell in self.columns]
        values += [f'{in_toml(cell)}: "a"' for cell in self.categorical]
        return f"{{{', '.join(values)}}}", "numbers and categories"

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        yield from super().check(path, table, recipe)
        columns = [*table.words("columns"), *table.words("categorical")]
        if not table["columns"] and not table["categorical"]:
            hint = 'Write columns = ["age"] or categorical = [...].'
            yield Finding((*path, "columns"), "a table needs a column.", hint)
        for column in sorted({column for column in columns if columns.count(column) > 1}):
            yield Finding((*path, "columns"), f"{in_toml(column)} is named twice.")
        if table["embedding"] is not None and table["tokens"] == "columns":
            message = 'with tokens = "columns" all have the same width.'
            yield Finding((*path, "embedding"), message, "Write width instead.")
