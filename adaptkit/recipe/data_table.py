"""What all tables `[data]` share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from adaptkit.recipe.table import Table


class DataTable(Table):
    """The keys that every format has."""

    format: str = Field(examples=["jsonl"], description="How the data is stored.")
    drop: list[str] = Field(
        default=[],
        examples=[["poster"]],
        description="Modalities that count as absent in every sample of every split, and are not read at all.",
    )


Root = Annotated[
    str | None,
    Field(
        examples=["data/mine"],
        description="Folder of the data, relative to the recipe file. Default: the recipe's folder.",
    ),
]
