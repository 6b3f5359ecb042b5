"""The recipe language as JSON schema, for editors that check and complete TOML (taplo, Even Better TOML)."""

from __future__ import annotations

from typing import Any

from adaptkit.kinds import ADAPTERS
from adaptkit.recipe.schema import Recipe
from adaptkit.recipe.table import NAME_PATTERN

_NAMED = ("modality", "adapter", "task")


def json_schema() -> dict[str, Any]:
    """One schema for a whole recipe: tables by kind, an adapter's keys by the arguments of its class.

    A recipe that `extends` another may leave out root keys; inside a table it repeats the `kind`.
    """
    schema = _without_null(Recipe.model_json_schema(by_alias=True, mode="validation"))
    properties = schema["properties"]
    for key in _NAMED:
        properties[key]["propertyNames"] = {"pattern": NAME_PATTERN}
    properties["extends"] = {
        "type": "string",
        "description": "Recipe that this one changes: a file relative to this one, or a bundled name.",
    }
    for table in properties["adapter"]["additionalProperties"]["oneOf"]:
        _count_sides(table, *ADAPTERS.kinds[table["properties"]["kind"]["const"]].facts["needs_sides"])
    required = schema.pop("required")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "adaptkit recipe",
        "description": "What to graft where, on which data and how to train it.",
        **{key: value for key, value in schema.items() if key not in ("title", "description")},
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": required},
    }


def _count_sides(table: dict[str, Any], least: int, most: int | None) -> None:
    """How many sides a kind of adapter takes."""
    table["properties"]["sides"] |= {"minItems": least} | ({} if most is None else {"maxItems": most})
    if least:
        table["required"] = [*table["required"], "sides"]


def _without_null(schema: Any) -> Any:
    """TOML has no null: an absent key says it. The titles pydantic derives from the keys say nothing."""
    if isinstance(schema, list):
        return [_without_null(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "properties" in schema:
        schema = schema | {"properties": {key: _without_null(item) for key, item in schema["properties"].items()}}
    noise = ("title", "discriminator", "properties")
    kept = {key: _without_null(item) for key, item in schema.items() if key not in noise}
    kept |= {key: schema[key] for key in ("properties",) if key in schema}
    if kept.get("default", ...) is None:
        del kept["default"]
    elif isinstance(kept.get("default"), dict):
        kept["default"] = {key: value for key, value in kept["default"].items() if value is not None}
    choices = [item for item in kept.get("anyOf", []) if item != {"type": "null"}]
    if len(choices) == 1:
        del kept["anyOf"]
        return choices[0] | kept
    return kept | ({"anyOf": choices} if choices else {})
