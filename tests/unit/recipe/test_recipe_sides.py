"""What `sides` may name beside modalities: spans of the stream, other towers, and adapters to combine."""

from __future__ import annotations

import pytest

from adaptkit.errors import RecipeError
from adaptkit.recipe import Recipe, load_recipe, parse_recipe

BASE = """\
name = "films"

[backbone]
model = "bert-base"

[modality.plot]
kind = "text"
route = "backbone"

[modality.frames]
kind = "features"
width = 8
max_tokens = 4
route = "tokens"

[modality.poster]
kind = "features"
width = 64
route = "side"

[data]
format = "jsonl"

[task.genres]
kind = "multilabel"

"""
ONE = '[adapter.one]\nkind = "bottleneck"\nat = "mlp.out"\n'
TWO = '[adapter.two]\nkind = "gmu"\nat = ["mlp.out"]\nlayers = "all"\nsides = ["poster"]\n'
FUSE = '[adapter.fuse]\nkind = "adapter_fusion"\nat = ["mlp.out"]\nsides = ["adapter:one", "adapter:two"]\n'
GMU = '[adapter.fuse]\nkind = "gmu"\nat = ["mlp.out"]\nsides = ["poster"]\n'


@pytest.fixture
def read(write):
    def recipe(*adapters: str) -> Recipe:
        return load_recipe(write(BASE + "\n".join(adapters)))

    return recipe


@pytest.fixture
def errors(read):
    """What is wrong, without the places."""

    def lines(*adapters: str) -> list[str]:
        with pytest.raises(RecipeError) as caught:
            read(*adapters)
        return [line.partition("  ")[2] for line in str(caught.value).splitlines()]

    return lines


@pytest.mark.parametrize("side", ["span:frames", "span:plot", "vision@block.out", "poster"])
def test_words_that_a_side_may_be(read, side):
    sides = ["poster"] if side == "poster" else ["poster", side]
    assert read(GMU.replace('["poster"]', str(sides).replace("'", '"'))).adapter["fuse"].sides == sides


SIDES = {
    '"span:frame"': 'no modality feeds the side "span:frame". Did you mean "frames"?',
    '"span:"': 'no modality feeds the side "span:". Known: frames, plot.',
    '"span:poster"': '"poster" is routed "side", so it is no part of the backbone\'s sequence.'
    ' Write "poster", or route = "tokens" in [modality.poster].',
    '"frames"': '"frames" is routed "tokens", where no adapter can read it.'
    ' Write "span:frames" for its tokens in the stream, or route = "side".',
    '"vision@"': '"vision@" is no place of another tower. Write "STACK@block.out", for example "vision@block.out".',
    '"@block.out"': '"@block.out" is no place of another tower.'
    ' Write "STACK@block.out", for example "vision@block.out".',
    '"adapter:one"': 'gmu does not combine adapters, so it cannot read "adapter:one".'
    ' Write kind = "adapter_fusion" or "parallel".',
}


@pytest.mark.parametrize(("side", "expected"), SIDES.items())
def test_a_wrong_side_is_one_line(errors, side, expected):
    assert errors(ONE, GMU.replace('["poster"]', f'["poster", {side}]')) == [f"adapter.fuse.sides: {expected}"]


def test_a_sequence_of_one_modality_has_no_spans(write):
    alone = BASE.replace('route = "tokens"', 'route = "side"') + GMU.replace(
        '["poster"]', '["poster", "frames", "span:plot"]'
    )
    with pytest.raises(RecipeError, match='"plot" is the backbone\'s whole sequence, not a span of it'):
        load_recipe(write(alone))


def test_an_image_of_the_backbone_is_no_span(errors):
    picture = '[modality.still]\nkind = "image"\nroute = "backbone"\n'
    assert errors(picture, GMU.replace('["poster"]', '["poster", "span:still"]')) == [
        'adapter.fuse.sides: "still" is routed "backbone", so it is no part of the backbone\'s sequence.'
        ' Write route = "tokens" in [modality.still].'
    ]


@pytest.mark.parametrize("kind", ["adapter_fusion", "parallel"])
def test_adapters_of_one_place_may_be_combined(read, kind):
    recipe = read(ONE, TWO, FUSE.replace("adapter_fusion", kind))
    assert recipe.adapter["fuse"].sides == ["adapter:one", "adapter:two"]
    assert parse_recipe(recipe.model_dump()) == recipe


def test_order_and_brackets_of_sites_do_not_matter(read):
    one = ONE.replace('"mlp.out"', '["mlp.out", "attn.out"]')
    two = TWO.replace('["mlp.out"]', '["attn.out", "mlp.out"]')
    assert read(one, two, FUSE.replace('["mlp.out"]', '["attn.out", "mlp.out"]'))


MEMBERS = {
    "unknown": (
        (ONE, TWO, FUSE.replace("adapter:two", "adapter:too")),
        ['there is no adapter "too". Did you mean "two"?'],
    ),
    "itself": (
        (ONE, TWO, FUSE.replace("adapter:two", "adapter:fuse")),
        ["fuse cannot combine itself. Name other adapters."],
    ),
    "a modality": (
        (ONE, TWO, FUSE.replace("adapter:two", "poster")),
        ['adapter_fusion combines other adapters, and "poster" is none. Write "adapter:NAME".'],
    ),
    "without the word": (
        (ONE, TWO, FUSE.replace("adapter:two", "two")),
        ['adapter_fusion combines other adapters, and "two" is none. Write "adapter:two".'],
    ),
    "at another site": (
        (ONE.replace("mlp.out", "attn.out"), TWO, FUSE),
        ["one sits elsewhere. Give [adapter.one] and [adapter.fuse] the same at and layers."],
    ),
    "in other layers": (
        (ONE, TWO.replace('"all"', '"last"'), FUSE),
        ["two sits elsewhere. Give [adapter.two] and [adapter.fuse] the same at and layers."],
    ),
    "later": (
        (ONE, FUSE, TWO),
        ["two is written after fuse. Write [adapter.two] first."],
    ),
    "in weight space": (
        (ONE.replace('"bottleneck"', '"lora"'), TWO, FUSE),
        ["one is of the kind lora, which does not add to a stream. Combine adapters of a stream, such as bottleneck."],
    ),
    "too few": (
        (ONE, TWO, FUSE.replace(', "adapter:two"', "")),
        ['adapter_fusion needs at least 2 sides. Write sides = ["adapter:one", "adapter:two"].'],
    ),
    "none there": (
        (TWO, FUSE.replace('["adapter:one", "adapter:two"]', "[]")),
        [
            "adapter_fusion needs at least 2 sides."
            ' Write adapters of the same at and layers before it, and name them here: "adapter:NAME".'
        ],
    ),
    "twice": (
        (ONE, TWO, FUSE.replace('"adapter:two"', '"adapter:two", "adapter:two"')),
        ['"adapter:two" is named twice.'],
    ),
}


@pytest.mark.parametrize(("adapters", "expected"), MEMBERS.values(), ids=MEMBERS)
def test_a_wrong_member_is_one_line(errors, adapters, expected):
    assert errors(*adapters) == [f"adapter.fuse.sides: {line}" for line in expected]


def test_an_adapter_is_combined_once(errors):
    three = ONE.replace("adapter.one", "adapter.three")
    sum_ = FUSE.replace("adapter.fuse", "adapter.sum").replace("adapter:two", "adapter:three")
    assert errors(ONE, TWO, three, FUSE, sum_) == [
        "adapter.sum.sides: one belongs to fuse already. An adapter can be combined once only."
    ]


def test_a_combination_is_no_member(errors):
    outer = FUSE.replace("adapter.fuse", "adapter.outer").replace("adapter:two", "adapter:fuse")
    inner = FUSE.replace('"adapter:one"', '"adapter:three"')
    three = ONE.replace("adapter.one", "adapter.three")
    assert errors(ONE, TWO, three, inner, outer) == [
        "adapter.outer.sides: fuse combines adapters itself. Name its members instead."
    ]


def test_a_frozen_adapter_needs_values(errors, read):
    frozen = ONE + "train = false\n"
    assert errors(frozen, TWO) == [
        "adapter.one.train: a fresh adapter that is frozen changes nothing. Write init_from, or leave train out."
    ]
    assert not read(frozen + 'init_from = "runs/films"\n', TWO).adapter["one"].train
    assert not read(frozen + 'init = "published"\n', TWO).adapter["one"].train
    assert not read(ONE, TWO, FUSE + "train = false\n").adapter["fuse"].train, "the mean of its members"


def test_halves_are_shared_where_there_are_halves(errors, read):
    assert errors(ONE, GMU.replace("gmu", "mag") + 'per_task = "half_shared_up"\n') == [
        'adapter.fuse.per_task: mag has no down and up half to share. Write per_task = "single" or "multiple".'
    ]
    for kind, word in (("gmu", "half_shared_up"), ("cross_attention", "half_shared_down"), ("mag", "multiple")):
        assert read(GMU.replace("gmu", kind) + f'per_task = "{word}"\n').adapter["fuse"].per_task == word
