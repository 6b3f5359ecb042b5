"""`[data]`: where samples come from, and the keys that all formats have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from adaptkit.errors import nearest
from adaptkit.kinds.words import in_toml
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import IsPath, Table, Written, WrittenRecipe

Root = Annotated[
    str | None,
    IsPath(absent="."),
    Field(
        examples=["data/mine"],
        description="Folder of the data, relative to the recipe file. Default: the recipe's folder.",
    ),
]


class DataTable(Table):
    """The keys that every format has."""

    format: str = Field(examples=["jsonl"], description="How the data is stored.")
    drop: list[str] = Field(
        default=[],
        examples=[["poster"]],
        description="Modalities that count as absent in every sample of every split, and are not read at all.",
    )

    def sources_of_tasks(self, tasks: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        """Task -> the one source that has it, where there are several; {} where the data is one."""
        return {}

    def batches(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Source -> batches of an epoch.

        Args:
            sizes: source -> batches that hold all of it once.
        """
        return dict(sizes)

    def record(self, record: Mapping[str, Any], where: str, columns: Collection[str]) -> Mapping[str, Any]:
        """A record as a file holds it, with the columns that a recipe reads; by default they are its own keys.

        Args:
            record: key -> value, as written.
            where: it lies, for errors.
            columns: that are read.

        Raises:
            DataError: it is not what the format lays down.
        """
        return record

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        dropped, place = table.words("drop"), (*path, "drop")
        can = [name for name, other in recipe.modalities.items() if other["route"] in ("tokens", "side", "fusion")]
        instead = f"Drop some of {in_toml(can)}." if can else "Leave drop out."
        reasons = {
            "backbone": "is the backbone's own input and cannot be dropped.",
            "query": "is the query of a task and cannot be dropped.",
        }
        for name in dict.fromkeys(dropped):
            modality = recipe.modalities.get(name)
            if dropped.count(name) > 1:
                yield Finding(place, f"{in_toml(name)} is named twice.")
            if modality is None:
                message = f"the recipe has no modality {in_toml(name)}."
                yield Finding(place, message, nearest(name, can or recipe.modalities))
            elif modality["route"] in reasons:
                yield Finding(place, f"{in_toml(name)} {reasons[modality['route']]}", instead)
            elif modality["missing"] == "mean":
                message = f"{in_toml(name)} has no mean to stand in for it where every sample lacks it."
                yield Finding(place, message, f'Write modality.{name}.missing = "zero" or "learned".')
