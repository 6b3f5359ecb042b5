"""Whether the tables of a recipe agree with each other: every table checks itself against the whole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from adaptkit.recipe.places import Finding
from adaptkit.recipe.schema import Recipe
from adaptkit.recipe.shape import written_recipe
from adaptkit.recipe.table import NAME_PATTERN


def conflicts(document: Mapping[str, Any], *, needs_task: bool = True) -> list[Finding]:
    """Everything in which the tables of the recipe contradict each other."""
    recipe = written_recipe(document, Recipe)
    own = (finding for path, table in recipe.tables.items() for finding in table.table.check(path, table, recipe))
    return [*_names(document, needs_task), *own]


def _names(document: Mapping[str, Any], needs_task: bool) -> Iterator[Finding]:
    for key in ("modality", "adapter", "task"):
        named = document.get(key)
        if not isinstance(named, Mapping):
            continue
        if not named and (key == "modality" or (key == "task" and needs_task)):
            yield Finding((key,), f"a recipe needs at least one {key}.", f"Write a table [{key}.NAME].")
        for name in named:
            if not re.fullmatch(NAME_PATTERN, name):
                yield Finding((key, name), "names have letters, digits and '_', and no digit first.")
