"""From a recipe's `at` and `layers` to sites, and every way to get them wrong."""

from __future__ import annotations

import pytest
from transformers import AutoConfig, AutoModel

from adaptkit.anatomy import Anatomy, select, skipped, study
from adaptkit.errors import SiteError
from tests.unit.anatomy.tiny_families import build


@pytest.fixture(scope="module")
def bert() -> Anatomy:
    return study(build("bert", "meta"), name="tiny-bert")


@pytest.fixture(scope="module")
def bart() -> Anatomy:
    return study(build("bart", "meta"), name="tiny-bart")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("all", [0, 1, 2]),
        ("last", [2]),
        ("1..2", [1, 2]),
        ("0..0", [0]),
        ("-2..-1", [1, 2]),
        ([0, -1], [0, 2]),
        ([2, 0, 0], [0, 2]),
    ],
)
def test_layers(bert: Anatomy, layers: str | list[int], expected: list[int]) -> None:
    assert [site.layer for site in select(bert, ["mlp.out"], layers)] == expected


def test_sites_come_in_order_of_execution(bert: Anatomy) -> None:
    sites = select(bert, ["final.out", "mlp.out", "attn.out", "embed.out"], "0..1")
    assert [(site.name, site.layer) for site in sites] == [
        ("embed.out", None),
        ("attn.out", 0),
        ("mlp.out", 0),
        ("attn.out", 1),
        ("mlp.out", 1),
        ("final.out", None),
    ]


def test_without_a_prefix_all_stacks_are_meant(bart: Anatomy) -> None:
    assert [site.full_name for site in select(bart, ["attn.out"], "last")] == [
        "encoder.attn.out",
        "decoder.attn.out",
    ]
    assert [site.layer for site in select(bart, ["decoder.attn.out"])] == [0, 1]
    assert {site.stack for site in select(bart, ["cross_attn.out"])} == {"decoder"}
    assert skipped(bart, ["cross_attn.out", "attn.out"]) == ("encoder.cross_attn.out",)


def test_a_name_given_twice_is_one_site(bart: Anatomy) -> None:
    assert select(bart, ["attn.out", "encoder.attn.out"]) == select(bart, ["attn.out"])


@pytest.mark.parametrize(
    ("at", "layers", "message"),
    [
        ("mlp.oot", "all", """no site 'mlp.oot'. Did you mean "mlp.out"?"""),
        ("mlp.out", "1..14", 'layers = "1..14" goes past the last layer of tiny-bert (0..2).'),
        ("mlp.out", [3], "layers = [3] goes past the last layer of tiny-bert (0..2)."),
        ("mlp.out", [-4], "layers = [-4] goes past the last layer"),
        ("mlp.out", "2..1", 'layers = "2..1" is empty'),
        ("mlp.out", "first", 'layers = "first" is not a choice of layers.'),
        ("path:encoder.layers.*.output.dens", "all", 'Did you mean "path:encoder.layer.*.output.dense"?'),
        ("path:embeddings.dropuot", "all", "no module of tiny-bert matches path:embeddings.dropuot."),
        ("path:encoder.layer.*.output.dense", [7], "layers = [7] goes past the last layer of tiny-bert (0..2)."),
        ("path:encoder.layer.0.output.dense", "1..2", "Those that match are in layers 0."),
        ("path:embeddings", "last", 'layers = "last" has no meaning at path:embeddings, which lies in no block.'),
    ],
)
def test_mistakes(bert: Anatomy, at: str, layers: str | list[int], message: str) -> None:
    with pytest.raises(SiteError) as caught:
        select(bert, [at], layers, where="recipe.toml:3")
    assert message in str(caught.value)
    assert str(caught.value).startswith("recipe.toml:3  ")
    assert caught.value.code == 5


def test_one_stack_may_be_too_short(bart: Anatomy) -> None:
    assert len(select(bart, ["encoder.mlp.out"], [2])) == 1
    with pytest.raises(SiteError, match=r"goes past the last layer of tiny-bart decoder \(0\.\.1\)"):
        select(bart, ["mlp.out"], [2])


def test_paths(bert: Anatomy) -> None:
    sites = select(bert, ["path:encoder.layer.?.output.dense"])
    assert [(site.path, site.layer, site.when, site.width, site.in_width) for site in sites] == [
        (f"encoder.layer.{layer}.output.dense", layer, "after", 16, 24) for layer in range(3)
    ]
    assert select(bert, ["path:encoder.layer.?.output.dense"], "1..2") == sites[1:]
    assert select(bert, ["path:encoder.layer.?.output.dense"], [-1]) == sites[2:]
    assert select(bert, ["path:embeddings"])[0].width == 16
    assert select(bert, ["path:encoder.layer.1.intermediate"])[0].width == 24


def test_paths_of_maps_carry_their_layout() -> None:
    resnet = study(build("timm-resnet-basic", "meta"))
    site = select(resnet, ["path:layer2.0"])[0]
    assert (site.width, site.layout) == (8, "bchw")


def test_layers_that_share_one_module_are_named() -> None:
    config = AutoConfig.for_model(
        "albert", hidden_size=16, embedding_size=8, num_attention_heads=4, intermediate_size=24,
        num_hidden_layers=4, vocab_size=64,
    )  # fmt: skip
    albert = study(AutoModel.from_config(config), name="tiny-albert")
    assert albert.stacks[0].depth == 4
    assert "share one module" in albert.notes[0]
    with pytest.raises(SiteError, match="layers 0, 1, 2, 3 of tiny-albert share one module"):
        select(albert, ["mlp.out"])
    assert len(select(albert, ["mlp.out"], [0])) == 1
