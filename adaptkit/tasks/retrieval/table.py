"""The keys of `kind = "retrieval"`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from adaptkit.errors import nearest
from adaptkit.kinds import Count
from adaptkit.kinds.words import in_toml
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Written, WrittenRecipe
from adaptkit.recipe.task import TaskTable


class Retrieval(TaskTable):
    """Queries find items of a gallery, and items their queries."""

    query_keys: ClassVar[tuple[str, ...]] = ("query",)

    query: str = Field(
        examples=["caption"], description='The modality that asks; its route is "query". The others make the item.'
    )
    width: Count = Field(default=256, description="P, width of the space in which queries and items meet.")
    temperature: float = Field(
        default=0.07, ge=0.01, le=1, description="Of the loss, at the start; it is learned (as in CLIP, 0.01 at least)."
    )

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        yield from super().check(path, table, recipe)
        query, modalities = table["query"], recipe.modalities
        if not isinstance(query, str):
            return
        if query not in modalities:
            message = f"the recipe has no modality {in_toml(query)}."
            yield Finding((*path, "query"), message, nearest(query, modalities))
        elif modalities[query]["route"] != "query":
            route = modalities[query]["route"]
            message = f"{in_toml(query)} is routed {in_toml(route)}, so it is part of the item that it asks for."
            yield Finding((*path, "query"), message, f'Write route = "query" in [modality.{query}].')
