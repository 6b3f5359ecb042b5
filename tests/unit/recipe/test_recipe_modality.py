"""Modalities: the kinds, and the keys of one that contradict each other."""

from __future__ import annotations

import pytest

from adaptkit.recipe import load_recipe

POSTER = 'kind = "features"\nwidth = 64\nroute = "side"'
GOOD = {
    "text with a tower": 'kind = "text"\nroute = "side"\ntower = { model = "bert-base" }\nkeep = "middle"',
    "image with a tower": 'kind = "image"\nroute = "side"\ntower = { model = "timm/resnet18", train = ["norm"] }',
    "audio": 'kind = "audio"\nroute = "side"\nseconds = 5\nhop = 5\npool = "attention"',
    "audio with a tower": 'kind = "audio"\nroute = "side"\ntower = { model = "facebook/wav2vec2-base" }',
    "video": 'kind = "video"\nroute = "side"\nframes = 4\nsize = 32\nkeep = "last"\ntrain = false',
    "table": 'kind = "table"\nroute = "side"\ncolumns = ["a"]\ncategorical = ["b"]\ntokens = "columns"\nwidth = 8',
    "features": 'kind = "features"\nroute = "side"\nwidth = 4\nmax_tokens = 9\nkeep = "even"\npool = "attention"',
}
BAD = {
    "text without a tower": (
        'kind = "text"\nroute = "side"',
        'poster.route: only the backbone reads text without a tower. Write tower = { model = "bert-base" } or another'
        ' text model, or route = "backbone".',
    ),
    "audio for the backbone": (
        'kind = "audio"\nroute = "backbone"',
        'poster.route: audio is no native input of a backbone. Write route = "tokens" (its input sequence), "side"'
        ' (adapters) or "fusion".',
    ),
    "a tower before the backbone": (
        'kind = "image"\nroute = "backbone"\ntower = { model = "timm/resnet18" }',
        'poster.tower: the backbone reads this modality itself. Leave tower out, or write route = "tokens", "side" or'
        ' "fusion".',
    ),
    "a pool before the backbone": (
        'kind = "image"\nroute = "backbone"\npool = "mean"',
        "poster.pool: the backbone reads every token. Leave pool out; backbone.pool says how the last hidden states"
        " become one vector.",
    ),
    "patches and a tower": (
        'kind = "image"\nroute = "side"\nencoder = "rows"\ntower = { model = "timm/resnet18" }',
        "poster.encoder: a tower makes its own tokens. Leave encoder out.",
    ),
    "a spectrogram and a tower": (
        'kind = "audio"\nroute = "side"\nbins = 64\ntower = { model = "facebook/wav2vec2-base" }',
        "poster.bins: a tower brings its own spectrogram. Leave bins out.",
    ),
    "a table of nothing": (
        'kind = "table"\nroute = "side"',
        'poster.columns: a table needs a column. Write columns = ["age"] or categorical = [...].',
    ),
    "a column twice": (
        'kind = "table"\nroute = "side"\ncolumns = ["a"]\ncategorical = ["a"]',
        'poster.columns: "a" is named twice.',
    ),
    "two widths of a category": (
        'kind = "table"\nroute = "side"\ncategorical = ["a"]\ntokens = "columns"\nembedding = 4',
        'poster.embedding: with tokens = "columns" all have the same width. Write width instead.',
    ),
    "a word that keep does not know": (
        'kind = "video"\nroute = "side"\nkeep = "midle"',
        'poster.keep: should be one of "even", "first", "middle", "last", not "midle". Did you mean "middle"?',
    ),
}


@pytest.mark.parametrize("table", GOOD.values(), ids=GOOD)
def test_every_kind_is_read(write, good, table):
    assert load_recipe(write(good.replace(POSTER, table))).modality["poster"].kind in table


@pytest.mark.parametrize(("table", "expected"), BAD.values(), ids=BAD)
def test_keys_that_contradict_each_other(spoiled, table, expected):
    lines = [line.partition("modality.")[2] for line in spoiled((POSTER, table))]
    assert expected in lines


def test_a_backbone_may_be_fed_by_tokens_alone(write, good):
    tokens = 'kind = "features"\nwidth = 8\nmax_tokens = 4\nroute = "tokens"'
    recipe = load_recipe(write(good.replace('kind = "text"\nroute = "backbone"', tokens)))
    assert recipe.modality["plot"].route == "tokens"


def test_a_tower_of_an_extended_recipe_stays_the_same_folder(write, good):
    tower = 'kind = "text"\nroute = "side"\ntower = { model = "./bert", tokenizer = "./words" }'
    write(good.replace(POSTER, tower), "base/films.toml")
    table = load_recipe(write('extends = "base/films.toml"\n')).modality["poster"]
    assert table.kind == "text"
    assert table.tower is not None
    assert (table.tower.model, table.tower.tokenizer) == ("./base/bert", "./base/words")
