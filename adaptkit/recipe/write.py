"""Writing a recipe back: complete, with every default, as TOML that loads to an equal recipe."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import tomlkit
from tomlkit.items import InlineTable, Table

from adaptkit.recipe.schema import Recipe

# Tables of tables: each entry gets a header of its own. What lies deeper is written inline.
_NAMED = ("modality", "adapter", "task")


def resolved_toml(recipe: Recipe) -> str:
    """The whole recipe as TOML, with every default. Keys without a value (`None`) are left out."""
    return toml_of(resolved_tables(recipe))


def toml_of(tables: Mapping[str, Any]) -> str:
    """The tables of a recipe as TOML."""
    document = tomlkit.document()
    for key, value in tables.items():
        if key in _NAMED:
            group = tomlkit.table(is_super_table=bool(value))
            for name, table in value.items():
                group.append(name, _table(table))
            document.append(key, group)
        else:
            document.append(key, _table(value) if isinstance(value, dict) else tomlkit.item(value))
    return tomlkit.dumps(document)


def resolved_tables(recipe: Recipe) -> dict[str, Any]:
    """The whole recipe as plain tables, without the keys that have no value."""
    return _without_none(recipe.model_dump(by_alias=True))


def model_table(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Of the tables of a recipe the one that names a model: that of the backbone (""), or of a modality's tower."""
    return tables["modality"][name]["tower"] if name else tables["backbone"]


def carrying(tables: dict[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    """The tables of a recipe whose models lie in these folders now, with their configuration and tokenizer.

    Args:
        tables: from `resolved_tables`; they are changed.
        places: "" (the backbone) or the modality of a tower -> its folder.
    """
    for name, place in places.items():
        table = model_table(tables, name)
        table["model"] = place
        for key in ("config", "revision", "tokenizer", "added_tokens"):  # which the folder answers
            table.pop(key, None)
    return tables


def digest(recipe: Recipe) -> str:
    """Eight hexadecimal digits that change exactly when the resolved recipe does; where its cache lies is no part."""
    tables = {key: value for key, value in resolved_tables(recipe).items() if key != "cache"}
    return hashlib.sha256(toml_of(tables).encode()).hexdigest()[:8]


def _table(table: Mapping[str, Any]) -> Table:
    written = tomlkit.table()
    for key, value in table.items():
        written.append(key, _inline(value) if isinstance(value, dict) else tomlkit.item(value))
    return written


def _inline(table: Mapping[str, Any]) -> InlineTable:
    written = tomlkit.inline_table()
    for key, value in table.items():
        written.append(key, _inline(value) if isinstance(value, dict) else tomlkit.item(value))
    return written


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value
