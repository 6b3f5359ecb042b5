"""Tables that contradict each other."""

from __future__ import annotations

import pytest

from adaptkit.errors import RecipeError
from adaptkit.recipe import load_recipe, parse_recipe

CASES = {
    "a side that no modality feeds": (
        ('sides = ["poster"]', 'sides = ["poster", "postr"]'),
        'films.toml:20  adapter.fuse.sides: no modality feeds the side "postr". Did you mean "poster"?',
    ),
    "a side that is routed elsewhere": (
        ('sides = ["poster"]', 'sides = ["poster", "plot"]'),
        'films.toml:20  adapter.fuse.sides: "plot" is routed "backbone", where no adapter can read it.'
        ' Write route = "side" in [modality.plot].',
    ),
    "a side named twice": (
        ('sides = ["poster"]', 'sides = ["poster", "poster"]'),
        'films.toml:20  adapter.fuse.sides: "poster" is named twice.',
    ),
    "a side that is not read": (
        (
            "[adapter.fuse]",
            '[modality.trailer]\nkind = "features"\nwidth = 8\nroute = "side"\n\n[adapter.fuse]',
        ),
        "films.toml:20  modality.trailer.route: no adapter reads this side."
        ' Write sides = ["trailer"] in an adapter, or give it another route.',
    ),
    "two texts for the backbone": (
        ("[modality.poster]", '[modality.title]\nkind = "text"\nroute = "backbone"\n\n[modality.poster]'),
        "films.toml:14  modality.title.route: the backbone reads only one text."
        ' plot is it already; write route = "tokens" or "side".',
    ),
    "a dropped value that nothing stands in for": (
        ("width = 64", "width = 64\nmodality_dropout = 0.2"),
        "films.toml:15  modality.poster.modality_dropout: nothing is said to stand in for a dropped value."
        ' Write missing = "zero", "mean" or "learned".',
    ),
    "labels listed twice": (
        ('kind = "multilabel"', 'kind = "multilabel"\nlabels = ["a", "a"]'),
        'films.toml:28  task.genres.labels: "a" is listed twice.',
    ),
    "weights of other labels": (
        ('kind = "multilabel"', 'kind = "multilabel"\nlabels = ["a", "b"]\npos_weight = [1, 2, 3]'),
        "films.toml:29  task.genres.pos_weight: 3 weights for 2 labels.",
    ),
    "hidden width of a linear head": (
        ('kind = "multilabel"', 'kind = "multilabel"\nhead = { hidden = 8 }'),
        'films.toml:28  task.genres.head.hidden: unknown key. It belongs to kind = "mlp" or "residual".',
    ),
    "patience of another schedule": (
        ("[train]", '[train]\nschedule = { name = "linear", patience = 2 }'),
        'films.toml:30  train.schedule.patience: unknown key. It belongs to name = "plateau".',
    ),
    "unknown optimizer": (
        ('name = "adamw"', 'name = "adamww"'),
        'films.toml:30  train.optimizer.name: torch.optim has no "adamww" that fits. Did you mean "adamw"?',
    ),
    "unknown keyword of the optimizer": (
        ('name = "adamw"', 'name = "sgd", momentun = 0.9'),
        'films.toml:30  train.optimizer.momentun: sgd has no such keyword. Did you mean "momentum"?',
    ),
    "names": (
        ("[task.genres]", '[task."film genres"]'),
        "films.toml:26  task.film genres: names have letters, digits and '_', and no digit first.",
    ),
}


@pytest.mark.parametrize(("replacement", "expected"), CASES.values(), ids=CASES)
def test_one_contradiction_is_one_line(spoiled, replacement, expected):
    assert spoiled(replacement) == [expected]


def test_an_adapter_without_the_sides_it_needs(spoiled):
    assert spoiled(('sides = ["poster"]\n', "")) == [
        "films.toml:15  modality.poster.route: no adapter reads this side."
        ' Write sides = ["poster"] in an adapter, or give it another route.',
        'films.toml:17  adapter.fuse.sides: gmu needs at least 1 side. Write sides = ["poster"].',
    ]


def test_an_adapter_with_sides_it_cannot_read(spoiled):
    assert spoiled(('kind = "gmu"', 'kind = "bottleneck"')) == [
        "films.toml:20  adapter.fuse.sides: bottleneck takes no side, not 1. Shorten the list."
    ]


@pytest.mark.parametrize(
    ("replacement", "key"),
    [
        (('route = "backbone"', 'route = "tokens"'), "modality.plot.route: only the backbone reads text"),
        (('route = "side"', 'route = "backbone"'), "modality.poster.route: features is no native input"),
        (
            (
                'kind = "features"\nwidth = 64\nroute = "side"',
                'kind = "image"\nencoder = "rows"\nroute = "backbone"',
            ),
            "modality.poster.encoder: a backbone makes its own tokens",
        ),
    ],
)
def test_routes_that_a_kind_cannot_take(spoiled, replacement, key):
    assert any(key in line for line in spoiled(replacement))


def test_the_backbone_needs_an_input(spoiled):
    lines = spoiled(('[modality.plot]\nkind = "text"\nroute = "backbone"\n', ""))
    assert lines == [
        'films.toml:9  modality: no modality feeds the backbone. Write route = "backbone" for its native input.'
    ]


def test_an_empty_table_of_tables(spoiled):
    lines = spoiled(('[task.genres]\nkind = "multilabel"', "[task]"))
    assert lines == ["films.toml:26  task: a recipe needs at least one task. Write a table [task.NAME]."]


def test_an_image_may_feed_the_backbone(write, good):
    text = good.replace('kind = "text"', 'kind = "image"')
    assert load_recipe(write(text)).modality["plot"].route == "backbone"


def test_a_recipe_made_in_python_is_checked_too(write, good):
    tables = load_recipe(write(good)).model_dump()
    tables["adapter"]["fuse"]["sides"] = ["postr"]
    with pytest.raises(RecipeError, match='no modality feeds the side "postr"'):
        parse_recipe(tables)
