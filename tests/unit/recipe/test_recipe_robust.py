"""Whatever a recipe holds, the answer is a recipe or a RecipeError, never another exception."""

from __future__ import annotations

import copy
import pickle
import tomllib
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptkit.errors import RecipeError
from adaptkit.kinds import ADAPTERS
from adaptkit.modalities.text.table import TextModality
from adaptkit.recipe import Backbone, Recipe, parse_recipe, resolved_toml

_WORDS = st.sampled_from(["", "text", "side", "gmu", "kind", "poster", "all", "a.b", "span:x", "é\n"])
_LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), _WORDS)
_ANYTHING = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=6,
)


def _places(table: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [above] if above else []
    entries = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    return found + [path for key, value in entries for path in _places(value, (*above, key))]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_anywhere(good, data):
    """Values of the complete recipe are replaced and keys are added at random."""
    document = tomllib.loads(resolved_toml(parse_recipe(tomllib.loads(good))))
    for _ in range(data.draw(st.integers(1, 3))):
        *way, key = data.draw(st.sampled_from(_places(document)))
        node = document
        for part in way:
            node = node[part]
        if isinstance(node, dict) and data.draw(st.booleans()):
            key = data.draw(_WORDS)
        node[key] = data.draw(_ANYTHING)
    try:
        recipe = parse_recipe(document)
    except RecipeError:
        return
    assert parse_recipe(tomllib.loads(resolved_toml(recipe))) == recipe


def test_tables_may_be_given_as_objects(good):
    recipe = parse_recipe(tomllib.loads(good))
    made = Recipe(
        name="films",
        backbone=Backbone(model="bert-base"),
        modality=dict(recipe.modality) | {"plot": TextModality(kind="text", route="backbone")},
        adapter=recipe.adapter,
        data=recipe.data,
        task=recipe.task,
        train=recipe.train,
    )
    assert made == recipe


def test_recipes_can_be_copied_and_pickled(good):
    recipe = parse_recipe(tomllib.loads(good))
    assert copy.deepcopy(recipe) == recipe
    assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_signatures_are_read_once():
    assert ADAPTERS.kinds is ADAPTERS.kinds
