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
    tables = resolved_tables(recipe)
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


def digest(recipe: Recipe) -> str:
    """Eight hexadecimal digits that change exactly when the resolved recipe does."""
    return hashlib.sha256(resolved_toml(recipe).encode()).hexdigest()[:8]


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
