"""The keys of `[data]` for every benchmark."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from adaptkit.recipe.data import DataTable
from adaptkit.recipe.table import IsPath


class BenchmarkTable(DataTable):
    """The keys that every benchmark has."""

    root: Annotated[str, IsPath()] = Field(
        min_length=1,
        examples=["../data/benchmark"],
        description="The downloaded folder, or the store that `adaptkit data import` made of it, relative to the "
        "recipe file.",
    )
    download: Annotated[str, IsPath()] | None = Field(
        default=None,
        min_length=1,
        examples=["../data/download"],
        description="The folder that the paths in the store start from, where it lies outside `root`. Default: it "
        "lies in `root`.",
    )
    variant: str | None = Field(
        default=None,
        min_length=1,
        description="Which of the imported layouts, where several lie there. Default: the only one.",
    )
