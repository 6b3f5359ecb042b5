"""`[adapter.NAME]`: which adapter goes where. Its further keys are the keyword arguments of its class."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from annotated_types import Interval
from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from adaptkit.kinds import ADAPTERS, Count, Kind, table_of
from adaptkit.kinds.key import MOST
from adaptkit.kinds.words import in_toml
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.side_checks import side_conflicts
from adaptkit.recipe.table import IsPath, Table, Written, WrittenRecipe

LAYERS_EXAMPLE = '"all", "last", "3..9" or [0, 4, -1]'
Layer = Annotated[int, Interval(ge=-MOST, le=MOST)]
_RANGE = re.compile(r"-?\d+\.\.-?\d+")
_AT_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
_LAYERS_SCHEMA = {
    "anyOf": [
        {"enum": ["all", "last"]},
        {"type": "string", "pattern": f"^{_RANGE.pattern}$"},
        {"type": "array", "items": {"type": "integer"}, "minItems": 1},
    ]
}


def _one_or_many(value: Any) -> Any:
    """`at = "mlp.out"` is short for `at = ["mlp.out"]`."""
    return [value] if isinstance(value, str) else value


def _layers(value: Any) -> Any:
    """The four ways to say which layers; whether they exist is the plan's question."""
    if isinstance(value, str) and (value in ("all", "last") or _RANGE.fullmatch(value)):
        return value
    if isinstance(value, list) and value and all(type(layer) is int for layer in value):
        return value
    raise PydanticCustomError("layers", f"should be {LAYERS_EXAMPLE}")


class AdapterSpec(Table):
    """Small trainable modules inserted at sites; one name may cover many."""

    kind: str = Field(examples=["gmu"], description="Which adapter.")
    at: Annotated[list[str], BeforeValidator(_one_or_many), WithJsonSchema(_AT_SCHEMA)] = Field(
        min_length=1,
        examples=[["mlp.out"]],
        description='Sites ("mlp.out", "attn.q", "block.out", ...) or "path:GLOB"; one needs no brackets. In the tower '
        'of a modality with its name before: "poster.mlp.out".',
    )
    layers: Annotated[str | list[Layer], BeforeValidator(_layers), WithJsonSchema(_LAYERS_SCHEMA)] = Field(
        default="all",
        description=f"Which layers: {LAYERS_EXAMPLE} (from 0, inclusive, negative from the end).",
    )
    sides: list[str] = Field(
        default=[],
        description='What it reads: modalities of route "side" or "fusion"; "span:NAME", the tokens of a modality '
        'within the stream; "STACK@block.out", the block at the same depth of another stack of the model or of the '
        'tower of a modality. What it combines: "adapter:NAME", an adapter of the same at and layers that is written '
        "before it.",
    )
    read: Literal["site", "stream", "in"] = Field(
        default="site",
        description="Place of the same branch that it reads; parallel adapters read another one.",
    )
    share: Literal["none", "layers"] = Field(
        default="none",
        description='"layers": all layers at the same site share one adapter. "none": each has its own.',
    )
    per_task: Literal["single", "multiple", "half_shared_up", "half_shared_down"] = Field(
        default="single",
        description='How tasks share it: "single" is one adapter for all, "multiple" one copy per task; half-shared '
        "copies have the up- or the down-projection in common.",
    )
    train: bool = Field(
        default=True, description="Whether it trains; false keeps the values it starts with (see init_from)."
    )
    init_from: Annotated[str | None, IsPath()] = Field(
        default=None,
        examples=["./runs/films/artifact"],
        description="Artifact or run folder, relative to the recipe file, whose adapter of the same name gives the "
        "initial values.",
    )
    expect: Count | None = Field(default=None, description="Number of grafts it must make; the plan asserts it.")

    @classmethod
    def of(cls, **keys: Any) -> AdapterSpec:
        """The table of one adapter, made in Python: its keys, those of its class among them.

        Raises:
            RecipeError: an unknown kind.
            pydantic.ValidationError: wrong keys or values.
        """
        ADAPTERS.named(str(keys.get("kind")), where="kind")
        return table_of(ADAPTERS.kinds[keys["kind"]], cls).model_validate(keys)

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of its class."""
        return own_keys(self, AdapterSpec)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What its class declares."""
        return ADAPTERS.kinds[self.kind].facts

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        for key in ("at", "sides"):
            words = table.words(key)
            for word in sorted({word for word in words if words.count(word) > 1}):
                yield Finding((*path, key), f"{in_toml(word)} is named twice.")
        yield from side_conflicts(str(path[1]), recipe)
        kind = ADAPTERS.kinds.get(str(table["kind"]))
        if kind is not None:
            yield from _of_kind(path, table, kind, fresh=recipe.document.get("init_from") is None)


def _of_kind(path: Path, table: Written, kind: Kind, *, fresh: bool) -> Iterator[Finding]:
    if table["per_task"] in ("half_shared_up", "half_shared_down") and not kind.facts["halves"]:
        hint = 'Write per_task = "single" or "multiple".'
        yield Finding((*path, "per_task"), f"{kind.name} has no down and up half to share.", hint)
    starts_still = kind.facts["identity"] and not kind.facts["fuses"] and table.get("init", "identity") == "identity"
    if starts_still and table["train"] is False and table["init_from"] is None and fresh:
        hint = "Write init_from, or leave train out."
        yield Finding((*path, "train"), "a fresh adapter that is frozen changes nothing.", hint)


def own_keys(table: Table, base: type[Table]) -> dict[str, Any]:
    """The values of the keys that the table of a kind has besides those of its siblings, by name."""
    return {name: getattr(table, name) for name in type(table).model_fields if name not in base.model_fields}
