"""`[fusion]`: how modalities meet the backbone's vector. Its further keys are its class's keyword arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from adaptkit.kinds import FUSIONS
from adaptkit.kinds.words import in_toml
from adaptkit.recipe.adapter import own_keys
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Table, Written, WrittenRecipe

BACKBONE = "backbone"  # the backbone's own stream among those that are fused


class FusionSpec(Table):
    """How modalities of route "fusion" that no adapter reads become one vector with the backbone's."""

    kind: str = Field(default="concat", examples=["gmu"], description="Which fusion.")
    train: bool = Field(default=True, description="Whether its parameters learn (see init_from).")

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of its class."""
        return own_keys(self, FusionSpec)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What its class declares."""
        return FUSIONS.kinds[self.kind].facts

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        joined, backbone = joined_names(recipe), recipe.at("backbone")
        kind = FUSIONS.kinds.get(str(table["kind"]))
        if kind is None or "pool" not in backbone:
            return
        if 1 + len(joined) < kind.facts["least"]:
            message = f'{kind.name} needs a modality of route "fusion" that no adapter reads.'
            hint = f'Give one route = "fusion", or write kind = {in_toml(FusionSpec.model_fields["kind"].default)}.'
            yield Finding((*path, "kind"), message, hint)
        if kind.facts["sequences"] and backbone["pool"] != "auto":
            message = f"{kind.name} reads the whole sequence of the backbone, so {in_toml(backbone['pool'])} would do "
            yield Finding(("backbone", "pool"), f"{message}nothing.", "Leave pool out.")


def joined_names(recipe: WrittenRecipe) -> list[str]:
    """The modalities of route "fusion" that no adapter reads."""
    read = {side for table in recipe.adapters.values() for side in table.words("sides")}
    return [name for name, table in recipe.modalities.items() if table["route"] == "fusion" and name not in read]
