"""Each wrong input: one line with place, dotted key, what is wrong and what to write instead."""

from __future__ import annotations

import pytest

from adaptkit.errors import RecipeError
from adaptkit.kinds import ADAPTERS, FORMATS
from adaptkit.kinds.words import in_toml
from adaptkit.recipe import load_recipe

CASES = {
    "unknown key": (
        ("width = 64", "width = 64\nwidht = 3"),
        'films.toml:15  modality.poster.widht: unknown key. Did you mean "width"?',
    ),
    "unknown keyword of an adapter": (
        ("bottleneck = 8", "botleneck = 8"),
        'films.toml:21  adapter.fuse.botleneck: unknown key. Did you mean "bottleneck"?',
    ),
    "key of another table": (
        ("[train]", "[train]\nlr = 1.0"),
        "films.toml:30  train.lr: unknown key. It belongs to train.optimizer.",
    ),
    "missing key": (
        ("width = 64\n", ""),
        "films.toml:12  modality.poster.width: missing key. Write for example width = 4096.",
    ),
    "missing table": (
        ('[data]\nformat = "jsonl"\n', ""),
        'films.toml  data: missing key. Write a table [data] with format = "jsonl".',
    ),
    "missing kind": (
        ('kind = "text"\n', ""),
        'films.toml:8  modality.plot.kind: missing key. Write kind = "audio" or "chat" or "features" or "image" or '
        '"table" or "text" or "video".',
    ),
    "missing format": (
        ('format = "jsonl"\n', ""),
        f"films.toml:23  data.format: missing key. Write format = {' or '.join(map(in_toml, FORMATS.kinds))}.",
    ),
    "text for a number": (
        ("width = 64", 'width = "64"'),
        'films.toml:14  modality.poster.width: should be a whole number, not "64". Write for example width = 4096.',
    ),
    "fraction for a whole number": (
        ("bottleneck = 8", "bottleneck = 8.5"),
        "films.toml:21  adapter.fuse.bottleneck: should be a whole number, not 8.5. Write for example bottleneck = 64.",
    ),
    "number for text": (
        ('model = "bert-base"', "model = 3"),
        'films.toml:6  backbone.model: should be text in quotes, not 3. Write for example model = "bert-base".',
    ),
    "minutes without a unit": (
        ("[train]", "[train]\ncheckpoint_every = 10"),
        'films.toml:30  train.checkpoint_every: should be "10 min", "30 s", "2 h", "500 steps" or "epoch", not 10. '
        'Write for example checkpoint_every = "10 min".',
    ),
    "half a step": (
        ("[train]", '[train]\ncheckpoint_every = "0.5 steps"'),
        'films.toml:30  train.checkpoint_every: should be "10 min", "30 s", "2 h", "500 steps" or "epoch", not '
        '"0.5 steps". Write for example checkpoint_every = "10 min".',
    ),
    "truth value for a number": (
        ("lr = 1e-4", "lr = true"),
        "films.toml:30  train.optimizer.lr: should be a number, not true. Write for example lr = 0.001.",
    ),
    "not a number": (
        ("lr = 1e-4", "lr = nan"),
        "films.toml:30  train.optimizer.lr: should be finite, not nan. Write for example lr = 0.001.",
    ),
    "value for a table": (
        ("[train]", "[train]\nschedule = 3"),
        "films.toml:30  train.schedule: should be a table, not 3."
        ' Write for example schedule = { name = "constant", warmup = 0.0 }.',
    ),
    "wrong element of a list": (
        ('at = ["attn.out", "mlp.out"]', 'at = ["attn.out", 3]'),
        'films.toml:19  adapter.fuse.at.1: should be text in quotes, not 3. Write for example at = ["mlp.out"].',
    ),
    "wrong word": (
        ('route = "side"', 'route = "sides"'),
        'films.toml:15  modality.poster.route: should be one of "backbone", "tokens", "side",'
        ' "fusion", "query", not "sides".'
        ' Did you mean "side"?',
    ),
    "out of bounds": (
        ("width = 64", "width = 0"),
        "films.toml:14  modality.poster.width: should be at least 1, not 0. Write for example width = 4096.",
    ),
    "unknown adapter": (
        ('kind = "gmu"', 'kind = "gmuu"'),
        'films.toml:18  adapter.fuse.kind: unknown adapter "gmuu". Did you mean "gmu"?'
        f" Known: {', '.join(ADAPTERS.kinds)}.",
    ),
    "unknown modality": (
        ('kind = "features"', 'kind = "fetures"'),
        'films.toml:13  modality.poster.kind: unknown modality kind "fetures". Did you mean "features"?'
        " Known: audio, chat, features, image, table, text, video.",
    ),
    "unknown format": (
        ('format = "jsonl"', 'format = "jsonlines"'),
        'films.toml:24  data.format: unknown data format "jsonlines". Did you mean "jsonl"? Known: '
        f"{', '.join(FORMATS.kinds)}.",
    ),
    "layers": (
        ("bottleneck = 8", 'layers = "3-9"'),
        'films.toml:21  adapter.fuse.layers: should be "all", "last", "3..9" or [0, 4, -1], not "3-9".'
        ' Write for example layers = "all".',
    ),
    "weights": (
        ('kind = "multilabel"', 'kind = "multilabel"\npos_weight = [1, -1]'),
        'films.toml:28  task.genres.pos_weight.1: should be at least 0, not -1. Write for example pos_weight = "none".',
    ),
    "size": (
        ('kind = "features"\nwidth = 64', 'kind = "image"\nsize = [28]'),
        "films.toml:14  modality.poster.size: should be a side in pixels, or [height, width], not [28]."
        " Write for example size = [28, 28].",
    ),
    "options written as a table": (
        ("bottleneck = 8", "options = { bottleneck = 8 }"),
        "films.toml:21  adapter.fuse.options: unknown key. Known: activation, at, bottleneck, expect, form, init, "
        "init_from, kind, layers, per_task, read, share, sides, train.",
    ),
    "schema of the future": (("schema = 1", "schema = 2"), "films.toml:2  schema: should be 1, not 2."),
    "name that is no folder": (
        ('name = "films"', 'name = "../films"'),
        'films.toml:3  name: "../films" has characters that a name cannot have (letters,'
        " digits, '_', '-', '.'"
        ' are fine). Write for example name = "my_recipe".',
    ),
    "shares": (
        ('format = "jsonl"', 'format = "digit_questions"\nimages_test = 0.9'),
        "films.toml:23  data: images_validation and images_test leave no image for training:"
        " their sum must be"
        " below 1.",
    ),
}


@pytest.mark.parametrize(("replacement", "expected"), CASES.values(), ids=CASES)
def test_one_mistake_is_one_line(spoiled, replacement, expected):
    assert spoiled(replacement) == [expected]


def test_every_mistake_is_told_at_once_from_top_to_bottom(spoiled):
    lines = spoiled(
        ('model = "bert-base"', 'modle = "bert-base"'),
        ("width = 64", 'width = "64"'),
        ('sides = ["poster"]', 'sides = ["postr"]'),
        ("bottleneck = 8", "botleneck = 8"),
        ("lr = 1e-4", "lr = 0"),
    )
    keys = [line.split("  ")[1].split(":")[0] for line in lines]
    assert keys == [
        "backbone.model",
        "backbone.modle",
        "modality.poster.width",
        "modality.poster.route",
        "adapter.fuse.sides",
        "adapter.fuse.botleneck",
        "train.optimizer.lr",
    ]


@pytest.mark.parametrize(
    ("replacement", "expected"),
    [
        (("[backbone]", "[backbone"), "films.toml:5  TOML syntax: "),
        (
            ('"bert-base"', "bert-base"),
            "films.toml:6  TOML syntax: Invalid value (column 9). Text needs quotes",
        ),
        (("schema = 1", "schema = 1\nschema = 1"), "films.toml:3  TOML syntax: Cannot overwrite a value"),
        (("lr = 1e-4 }", 'name = "x'), "films.toml:30  TOML syntax: "),
    ],
)
def test_a_syntax_error_has_its_line(spoiled, replacement, expected):
    (line,) = spoiled(replacement)
    assert line.startswith(expected)


def test_a_text_that_ends_too_early_names_the_last_line(write):
    path = write('schema = 1\nname = """films\n')
    with pytest.raises(RecipeError, match=r"films.toml:2  TOML syntax"):
        load_recipe(path)


def test_bytes_that_are_no_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "films.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"^films.toml  is not UTF-8 text"):
        load_recipe("films.toml")


def test_a_recipe_error_is_exit_code_3(write, good):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(good.replace("width = 64", "")))
    assert caught.value.code == 3
    (problem,) = caught.value.problems
    assert (problem.where, problem.hint) == ("films.toml:12", "Write for example width = 4096.")


def test_an_empty_file_lacks_every_required_table(write):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(""))
    missing = [problem.message.split(":")[0] for problem in caught.value.problems]
    assert missing == ["name", "backbone", "modality", "data", "task"]
