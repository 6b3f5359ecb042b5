"""The JSON schema accepts what the reader accepts, refuses what it refuses, and an editor can use it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from adaptkit.kinds import ADAPTERS
from adaptkit.recipe import json_schema, load_recipe, resolved_toml

_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}
_CHECKS = {
    "type": lambda wanted, value: (
        isinstance(value, _TYPES[wanted]) and (wanted == "boolean" or not isinstance(value, bool))
    ),
    "const": lambda wanted, value: value == wanted,
    "enum": lambda wanted, value: value in wanted,
    "minimum": lambda wanted, value: value >= wanted,
    "exclusiveMinimum": lambda wanted, value: value > wanted,
    "maximum": lambda wanted, value: value <= wanted,
    "exclusiveMaximum": lambda wanted, value: value < wanted,
    "minItems": lambda wanted, value: len(value) >= wanted,
    "maxItems": lambda wanted, value: len(value) <= wanted,
    "minLength": lambda wanted, value: len(value) >= wanted,
    "pattern": lambda wanted, value: re.search(wanted, value) is not None,
    "required": lambda wanted, value: all(key in value for key in wanted),
}
_APPLIED = {
    "$ref",
    "anyOf",
    "oneOf",
    "properties",
    "additionalProperties",
    "propertyNames",
    "items",
    "if",
    "then",
    "not",
}
_NOTES = {"$schema", "$defs", "title", "description", "default", "examples"}


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """The part of JSON schema that ours uses; anything else in it fails the test."""
    unknown = set(schema) - set(_CHECKS) - _APPLIED - _NOTES
    assert not unknown, f"keywords that the test does not know: {unknown}"

    def inner(part: dict[str, Any], at: Any = value) -> bool:
        return fits(at, part, root)

    if "type" in schema and not _CHECKS["type"](schema["type"], value):
        return False
    if not all(_CHECKS[key](wanted, value) for key, wanted in schema.items() if key in _CHECKS):
        return False
    if "$ref" in schema and not inner(root["$defs"][schema["$ref"].removeprefix("#/$defs/")]):
        return False
    if "not" in schema and inner(schema["not"]):
        return False
    if "if" in schema and inner(schema["if"]) and not inner(schema["then"]):
        return False
    if "anyOf" in schema and not any(inner(part) for part in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(inner(part) for part in schema["oneOf"]) != 1:
        return False
    if isinstance(value, list):
        return all(inner(schema.get("items", {}), item) for item in value)
    return not isinstance(value, dict) or all(_entry_fits(key, item, schema, root) for key, item in value.items())


def _entry_fits(key: str, item: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    if not fits(key, schema.get("propertyNames", {}), root):
        return False
    if key in schema.get("properties", {}):
        return fits(item, schema["properties"][key], root)
    others = schema.get("additionalProperties", True)
    return others if isinstance(others, bool) else fits(item, others, root)


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _parts(part)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


def test_it_is_json_and_its_references_exist(schema):
    json.dumps(schema, allow_nan=False)
    for part in _parts(schema):
        if "$ref" in part:
            assert part["$ref"].removeprefix("#/$defs/") in schema["$defs"]
        assert part.get("type") != "null", "TOML has no null"


def test_it_accepts_a_recipe_and_its_resolved_form(schema, write, good):
    assert fits(tomllib.loads(good), schema, schema)
    assert fits(tomllib.loads(resolved_toml(load_recipe(write(good)))), schema, schema)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("bottleneck = 8", "botleneck = 8"),
        ("bottleneck = 8", "rank = 8"),
        ("bottleneck = 8", 'bottleneck = "8"'),
        ("bottleneck = 8", 'layers = "3-9"'),
        ('kind = "gmu"', 'kind = "gmuu"'),
        ('sides = ["poster"]\n', ""),
        ("width = 64\n", ""),
        ('model = "bert-base"', 'modle = "bert-base"'),
        ("[train]", "[trian]"),
        ('name = "films"\n', ""),
        ("lr = 1e-4", "lr = 0"),
        ("[task.genres]", '[task."a b"]'),
    ],
)
def test_it_refuses_what_the_reader_refuses(schema, good, old, new):
    assert old in good
    assert not fits(tomllib.loads(good.replace(old, new)), schema, schema)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('at = ["attn.out", "mlp.out"]', 'at = "mlp.out"'),
        ("bottleneck = 8", 'layers = "0..-1"'),
        ("bottleneck = 8", "layers = [0, -1]"),
        ("lr = 1e-4", "lr = 1, betas = [0.9, 0.99]"),
        ('name = "films"\n', 'extends = "base.toml"\n'),
    ],
)
def test_it_accepts_the_short_forms(schema, good, old, new):
    assert old in good
    assert fits(tomllib.loads(good.replace(old, new)), schema, schema)


def test_an_adapter_offers_its_keywords(schema):
    tables = schema["properties"]["adapter"]["additionalProperties"]["oneOf"]
    by_kind = {table["properties"]["kind"]["const"]: table for table in tables}
    assert by_kind.keys() == ADAPTERS.kinds.keys()
    for kind, signature in ADAPTERS.kinds.items():
        table = by_kind[kind]
        assert table["additionalProperties"] is False
        for name, parameter in signature.keys.items():
            assert table["properties"][name]["description"] == parameter.doc
            if not parameter.required and parameter.default is not None:
                assert table["properties"][name]["default"] == parameter.default
