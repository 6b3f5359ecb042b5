"""The keys of weights per label, which several kinds of task have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Written


def label_weights(*words: str) -> BeforeValidator:
    """One of the words, or a list of non-negative numbers, one per label."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and value in words:
            return value
        plain = isinstance(value, list) and len(value) > 0
        if plain and all(isinstance(n, int | float) and not isinstance(n, bool) and n >= 0 for n in value):
            return value
        known = " or ".join(f'"{word}"' for word in words)
        raise PydanticCustomError("weights", "should be {known} or a list of numbers (one per label)", {"known": known})

    return BeforeValidator(check)


def weights_fit(path: Path, table: Written, key: str) -> Iterator[Finding]:
    """One weight per label, where both are written."""
    labels, weights = table.words("labels"), table[key]
    if isinstance(weights, list) and labels and len(weights) != len(labels):
        yield Finding((*path, key), f"{len(weights)} weights for {len(labels)} labels.")
