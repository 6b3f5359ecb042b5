"""Every number that a recipe can write has two ends: what lies outside is told with its line, not tried."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt
from pydantic import TypeAdapter, ValidationError

from adaptkit.recipe.kinded import of_kind
from adaptkit.recipe.optimizers import optimizer_keywords, optimizer_names
from adaptkit.recipe.schema import Recipe
from adaptkit.recipe.table import Table

# `backbone.config` and `tower.config` are free: their keys are those of the model's own configuration, which the
# library that has the model checks; what cannot be built is an error of the plan.


def numbers(table: type[Table], path: str, seen: set[type[Table]]) -> Iterator[tuple[str, Any]]:
    """(dotted key, type with its bounds) of every number in a table and in the tables within it."""
    for name, field in table.model_fields.items():
        here = f"{path}.{name}" if path else name
        bounds = () if of_kind(field) else field.metadata
        yield from of_type(field if of_kind(field) else field.annotation, here, seen, *bounds)


def of_type(kind: Any, path: str, seen: set[type[Table]], *bounds: Any) -> Iterator[tuple[str, Any]]:
    found = of_kind(kind)
    if found is not None:
        base, marker = found
        tables = [*marker.tables(base), *([(None, base)] if marker.open else [])]
        for named, table in tables:
            if table not in seen:
                seen.add(table)
                yield from numbers(table, f"{path}.<{named.name if named else '*'}>", seen)
    elif isinstance(kind, type) and issubclass(kind, Table):
        yield from numbers(kind, path, seen)
    elif kind in (int, float):
        yield path, Annotated[kind, *bounds] if bounds else kind
    elif get_origin(kind) is Annotated:
        first, *more = get_args(kind)
        yield from of_type(first, path, seen, *bounds, *more)
    elif get_origin(kind) in (types.UnionType, typing.Union):
        for part in get_args(kind):
            yield from of_type(part, path, seen, *bounds)
    elif get_origin(kind) in (list, tuple, dict):
        for part in get_args(kind):
            yield from of_type(part, path, seen)


def ends(kind: Any) -> tuple[float, float]:
    """The least and the most that a type allows."""
    least, most = -math.inf, math.inf
    for bound in get_args(kind)[1:]:
        for name in ("ge", "gt"):
            if isinstance(bound, Interval | Ge | Gt) and getattr(bound, name, None) is not None:
                least = max(least, getattr(bound, name))
        for name in ("le", "lt"):
            if isinstance(bound, Interval | Le | Lt) and getattr(bound, name, None) is not None:
                most = min(most, getattr(bound, name))
    return least, most


NUMBERS = dict(numbers(Recipe, "", set()))
KEYWORDS = {f"{name}.{key}": kind for name in optimizer_names() for key, kind in optimizer_keywords(name).items()}


def test_the_walk_finds_them() -> None:
    """Of kinds with tables of their own, of keyword arguments, in unions, in lists and in nested tables."""
    known = {"adapter.<lora>.rank", "adapter.<bottleneck>.scale", "modality.<image>.size", "train.seeds"}
    known |= {"train.optimizer.<*>.lr", "task.<multilabel>.pos_weight", "train.early_stopping.patience"}
    assert known <= set(NUMBERS)
    assert len(NUMBERS) > 100


@pytest.mark.parametrize("key", NUMBERS)
def test_every_number_has_two_ends(key: str) -> None:
    least, most = ends(NUMBERS[key])
    assert math.isfinite(least), f"{key} has no least value"
    assert math.isfinite(most), f"{key} has no greatest value"
    for outside in (least - 1, most + 1, 2**62, -(2**62), 10**400):
        with pytest.raises(ValidationError):
            TypeAdapter(NUMBERS[key]).validate_python(outside)


@pytest.mark.parametrize("key", KEYWORDS)
def test_every_keyword_of_an_optimizer_has_a_type(key: str) -> None:
    assert KEYWORDS[key] is not Any
    assert all(map(math.isfinite, ends(found)) for _, found in of_type(KEYWORDS[key], key, set()))
