"""`[fusion]`, `backbone.prefix` and the `init_from` of a whole recipe: keys, defaults, and what contradicts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adaptkit.errors import RecipeError
from adaptkit.kinds import FUSIONS
from adaptkit.recipe import json_schema, load_recipe, parse_recipe, resolved_toml

FUSED = ('route = "side"', 'route = "fusion"')
UNREAD = ('[adapter.fuse]\nkind = "gmu"\nat = ["attn.out", "mlp.out"]\nsides = ["poster"]\nbottleneck = 8\n', "")
DATA = "[data]"


def table(text: str) -> tuple[str, str]:
    return DATA, f"{text}\n\n{DATA}"


def read(write: Any, good: str, *replacements: tuple[str, str], sets: tuple[str, ...] = ()) -> Any:
    for old, new in replacements:
        assert old in good
        good = good.replace(old, new)
    return load_recipe(write(good), sets)


def test_without_a_table_the_vectors_are_concatenated(write, good) -> None:
    fusion = read(write, good).fusion
    assert (fusion.kind, fusion.options, fusion.train) == ("concat", {"width": None, "repeat": 1, "norm": True}, True)


@pytest.mark.parametrize("kind", FUSIONS.kinds)
def test_a_resolved_recipe_has_every_key_of_the_fusion(write, good, kind: str) -> None:
    recipe = read(write, good, FUSED, UNREAD, table(f'[fusion]\nkind = "{kind}"\ntrain = false'))
    assert recipe.fusion.options.keys() == FUSIONS.kinds[kind].keys.keys()
    again = load_recipe(write(resolved_toml(recipe), "resolved.toml"))
    assert again == recipe
    assert again.fusion.train is False


def test_keys_of_the_fusion_can_be_set(write, good) -> None:
    recipe = read(write, good, FUSED, UNREAD, table('[fusion]\nkind = "gmu"'), sets=("fusion.width=7",))
    assert recipe.fusion.options == {"width": 7, "gates": None, "norm": True}


MISTAKES = {
    "unknown kind": (
        [FUSED, UNREAD, table('[fusion]\nkind = "gnu"')],
        'fusion.kind: unknown fusion "gnu". Did you mean "gmu"? Known: concat, cross_modal, gmu, low_rank, tensor.',
    ),
    "unknown key": (
        [FUSED, UNREAD, table('[fusion]\nkind = "gmu"\nwidht = 3')],
        'fusion.widht: unknown key. Did you mean "width"?',
    ),
    "wrong type": (
        [FUSED, UNREAD, table('[fusion]\nkind = "low_rank"\nrank = "4"')],
        'fusion.rank: should be a whole number, not "4". Write for example rank = 4.',
    ),
    "options": (
        [FUSED, UNREAD, table('[fusion]\nkind = "gmu"\noptions = {}')],
        "fusion.options: unknown key. Known: gates, kind, norm, train, width.",
    ),
    "nothing to fuse": (
        [table('[fusion]\nkind = "gmu"')],
        'fusion.kind: gmu needs a modality of route "fusion" that no adapter reads. '
        'Give one route = "fusion", or write kind = "concat".',
    ),
    "pool of a sequence": (
        [FUSED, UNREAD, table('[fusion]\nkind = "cross_modal"'), ('"bert-base"', '"bert-base"\npool = "mean"')],
        'backbone.pool: cross_modal reads the whole sequence of the backbone, so "mean" would do nothing. '
        "Leave pool out.",
    ),
    "mmbt without tokens": (
        [('"bert-base"', '"bert-base"\nprefix = "mmbt"')],
        'backbone.prefix: no modality goes before the text. Give one route = "tokens", or leave prefix out.',
    ),
}


@pytest.mark.parametrize(("replacements", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(spoiled, replacements: list[tuple[str, str]], expected: str) -> None:
    (line,) = spoiled(*replacements)
    assert line.split("  ", 1)[1] == expected


def test_a_modality_cannot_have_the_name_of_the_backbone_where_they_meet() -> None:
    tables = {
        "name": "films",
        "backbone": {"model": "bert-base"},
        "modality": {
            "plot": {"kind": "text", "route": "backbone"},
            "backbone": {"kind": "features", "width": 3, "route": "fusion"},
        },
        "data": {"format": "jsonl"},
        "task": {"genres": {"kind": "multilabel"}},
    }
    with pytest.raises(RecipeError, match=r"modality.backbone: the backbone's own vector has this name"):
        parse_recipe(tables)


def test_init_from_is_seen_from_the_recipe_that_extends(write, good) -> None:
    write(good.replace('name = "films"', 'name = "films"\ninit_from = "../runs/base"'), "bases/films.toml")
    recipe = load_recipe(write('extends = "bases/films.toml"\nname = "more"\n', "more.toml"))
    assert recipe.init_from == "./runs/base"
    assert recipe.path(recipe.init_from) == Path("runs/base")


def test_a_frozen_adapter_may_start_from_the_run_of_the_recipe(write, good, spoiled) -> None:
    frozen = ("bottleneck = 8", "bottleneck = 8\ntrain = false")
    (line,) = spoiled(frozen)
    assert "a fresh adapter that is frozen changes nothing" in line
    started = ('name = "films"', 'name = "films"\ninit_from = "runs/films"')
    assert read(write, good, frozen, started).adapter["fuse"].train is False


def test_the_schema_of_an_editor_knows_every_fusion() -> None:
    kinds = {table["properties"]["kind"]["const"]: table for table in json_schema()["properties"]["fusion"]["oneOf"]}
    assert kinds.keys() == FUSIONS.kinds.keys()
    assert "kind" not in kinds["concat"].get("required", ())
    assert "kind" in kinds["gmu"]["required"]
    assert set(kinds["gmu"]["properties"]) == {"kind", "train", "width", "gates", "norm"}
