"""A resolved recipe is complete and loads to the recipe it was written from."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptkit.kinds import ADAPTERS
from adaptkit.recipe import digest, load_recipe, parse_recipe, resolved_toml

_NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,6}\Z")
_WORDS = st.text(min_size=1, max_size=12)
_RATES = st.floats(1e-6, 0.9, allow_subnormal=False)
_COUNTS = st.integers(1, 99)
_VALUES = {int: _COUNTS, float: _RATES, bool: st.booleans()}


def _tables(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


_SIDE = _tables(
    {"kind": st.just("features"), "route": st.just("side"), "width": _COUNTS},
    {
        "column": _WORDS,
        "missing": st.sampled_from(["error", "zero"]),
        "pool": st.sampled_from(["mean", "first"]),
    },
)
_PICTURE = _tables(
    {
        "kind": st.just("image"),
        "route": st.just("tokens"),
        "encoder": st.sampled_from(["pixels", "rows", "patches"]),
    },
    {
        "size": _COUNTS | st.lists(_COUNTS, min_size=2, max_size=2),
        "mean": _RATES,
        "std": st.lists(_RATES, min_size=3, max_size=3),
    },
)
_TASK = st.one_of(
    _tables(
        {"kind": st.just("classification")},
        {
            "labels": st.lists(_WORDS, min_size=2, max_size=4, unique=True),
            "head": _tables({"kind": st.just("mlp")}, {"hidden": _COUNTS, "dropout": _RATES}),
        },
    ),
    _tables({"kind": st.just("multilabel")}, {"threshold": _RATES, "monitor": _WORDS}),
    _tables({"kind": st.just("regression")}, {"outputs": _COUNTS, "weight": _RATES}),
)
_TRAIN = _tables(
    {},
    {
        "epochs": _COUNTS,
        "clip": _RATES,
        "checkpoint_every": st.sampled_from(["epoch", "1 step", "500steps", "30 s", "1.5 h", "10 min"]),
        "optimizer": _tables({"name": st.just("sgd")}, {"momentum": _RATES, "nesterov": st.booleans()}),
        "schedule": _tables({"name": st.just("plateau")}, {"factor": _RATES, "patience": _COUNTS}),
        "early_stopping": _tables({"patience": _COUNTS}, {"min_delta": _RATES}),
        "seeds": st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
    },
)
_DATA = st.one_of(
    _tables({"format": st.just("digit_questions")}, {"seed": _COUNTS, "questions_per_image": _COUNTS}),
    _tables({"format": st.just("jsonl")}, {"root": _WORDS, "test": _WORDS}),
)


@st.composite
def adapters(draw: st.DrawFn, sides: list[str]) -> dict[str, Any]:
    """An adapter of any kind that may read these sides, with any of its plain keywords."""
    readers = [s for s in ADAPTERS.kinds.values() if not s.facts["fuses"]]
    kinds = [s for s in readers if not sides or s.facts["needs_sides"][1] is None]
    signature = draw(st.sampled_from([s for s in kinds if len(sides) >= s.facts["needs_sides"][0]]))
    options = {name: _VALUES[p.type] for name, p in signature.keys.items() if p.type in _VALUES}
    layers = st.sampled_from(["all", "last", "3..9", "0..-1"]) | st.lists(st.integers(-9, 9), min_size=1, max_size=3)
    common = {"layers": layers, "share": st.sampled_from(["none", "layers"]), "init_from": _WORDS}
    spec = draw(_tables({"at": st.lists(_WORDS, min_size=1, max_size=3, unique=True)}, options | common))
    return spec | {"kind": signature.name} | ({"sides": sides} if sides else {})


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    text, *names = draw(st.lists(_NAMES, min_size=2, max_size=5, unique=True))
    sides = draw(st.dictionaries(st.sampled_from(names), _SIDE, max_size=2))
    pictures = draw(st.dictionaries(st.sampled_from(names), _PICTURE, max_size=1))
    grafts = [draw(adapters(list(sides))), *draw(st.lists(adapters([]), max_size=1))]
    return {
        "name": "any",
        "backbone": {"model": draw(_WORDS), "train": draw(st.lists(_WORDS, max_size=2))},
        "modality": {text: {"kind": "text", "route": "backbone"}} | pictures | sides,
        "adapter": {f"graft_{index}": graft for index, graft in enumerate(grafts)},
        "data": draw(_DATA),
        "task": draw(st.dictionaries(_NAMES, _TASK, min_size=1, max_size=2)),
        "train": draw(_TRAIN),
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(recipes())
def test_a_resolved_recipe_loads_to_an_equal_one(tables):
    recipe = parse_recipe(tables)
    text = resolved_toml(recipe)
    again = parse_recipe(tomllib.loads(text))
    assert again == recipe
    assert resolved_toml(again) == text
    assert digest(again) == digest(recipe)


def test_every_default_is_written(write, good):
    tables = tomllib.loads(resolved_toml(load_recipe(write(good))))
    assert tables["adapter"]["fuse"] == {
        "kind": "gmu",
        "at": ["attn.out", "mlp.out"],
        "layers": "all",
        "sides": ["poster"],
        "read": "site",
        "share": "none",
        "per_task": "single",
        "train": True,
        "bottleneck": 8,
        "form": "readme",
        "init": "identity",
    }
    assert tables["train"]["optimizer"] == {"name": "adamw", "lr": 1e-4, "weight_decay": 0.0}
    assert tables["task"]["genres"]["head"] == {"kind": "linear", "dropout": 0.0, "train": True}
    assert "revision" not in tables["backbone"], "TOML cannot say None"
    assert "init_from" not in tables["adapter"]["fuse"]


def test_a_resolved_file_is_a_recipe(write, good):
    recipe = load_recipe(write(good))
    assert load_recipe(write(resolved_toml(recipe), "resolved.toml")) == recipe


def test_a_recipe_without_adapters(write, good):
    text = good.replace(
        '[adapter.fuse]\nkind = "gmu"\nat = ["attn.out", "mlp.out"]\nsides = ["poster"]\nbottleneck = 8\n', ""
    )
    recipe = load_recipe(write(text.replace('route = "side"', 'route = "fusion"')))
    assert parse_recipe(tomllib.loads(resolved_toml(recipe))) == recipe


def test_the_digest_is_of_the_meaning(write, good):
    recipe = load_recipe(write(good))
    assert len(digest(recipe)) == 8
    assert digest(load_recipe(write(good.replace("schema = 1", "# a comment")))) == digest(recipe)
    assert digest(load_recipe(write(good), ["train.epochs=3"])) == digest(recipe), "3 is the default"
    assert digest(load_recipe(write(good), ["train.epochs=4"])) != digest(recipe)


@pytest.mark.parametrize("key", ["name", "adapter"])
def test_a_recipe_does_not_change(write, good, key):
    from pydantic import ValidationError

    with pytest.raises(ValidationError):
        setattr(load_recipe(write(good)), key, "x")
