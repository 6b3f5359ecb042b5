"""Every site of every family is where its name says, shown with numbers."""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from adaptkit.anatomy import Anatomy, Site, study
from tests.laws.zoo import ZOO
from tests.unit.anatomy.tiny_families import CONFIGS, FAMILIES, at, build, forward, see

ATTENTION = {"attn.stream", "attn.in", "attn.q", "attn.k", "attn.v", "attn.o", "attn.out"}
MLP = {"mlp.stream", "mlp.in", "mlp.up", "mlp.down", "mlp.out", "mlp.sum"}
BLOCK = {"block.in", "block.out"}
CROSS = {name.replace("attn", "cross_attn") for name in ATTENTION}
CONV = {"conv.in", "conv.1", "conv.2", "conv.out"}
POST_NORM = ATTENTION | {"attn.sum"} | MLP | BLOCK
PRE_NORM = ATTENTION | MLP | BLOCK

EXPECTED = {
    "bert": {"": (3, POST_NORM)},
    "roberta": {"": (3, POST_NORM)},
    "distilbert": {"": (3, POST_NORM)},
    "gpt2": {"": (3, PRE_NORM)},
    "llama": {"": (3, PRE_NORM | {"mlp.gate"})},
    "bart": {"encoder": (3, POST_NORM), "decoder": (2, POST_NORM | CROSS | {"cross_attn.sum"})},
    "t5": {"encoder": (3, POST_NORM), "decoder": (2, POST_NORM | CROSS | {"cross_attn.sum"})},
    "t5-gated": {
        "encoder": (3, POST_NORM | {"mlp.gate"}),
        "decoder": (2, POST_NORM | CROSS | {"cross_attn.sum", "mlp.gate"}),
    },
    "vit": {"": (3, PRE_NORM)},
    "clip": {"vision": (3, PRE_NORM), "text": (3, PRE_NORM)},
    "timm-vit": {"": (3, PRE_NORM)},
    "timm-resnet-basic": {"": (6, CONV | BLOCK)},
    "timm-resnet-bottleneck": {"": (6, CONV | BLOCK | {"conv.3"})},
}


def sites_of(anatomy: Anatomy, stack: str, layer: int | None) -> dict[str, Site]:
    return {site.name: site for site in anatomy.sites if (site.stack, site.layer) == (stack, layer)}


def layers_of(anatomy: Anatomy) -> list[dict[str, Site]]:
    return [sites_of(anatomy, stack.name, layer) for stack in anatomy.stacks for layer in range(stack.depth)]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_layer_has_the_sites_of_its_family(name: str) -> None:
    anatomy = study(build(name, "meta"))
    assert {stack.name: stack.depth for stack in anatomy.stacks} == {
        stack: depth for stack, (depth, _) in EXPECTED[name].items()
    }
    for stack, (depth, expected) in EXPECTED[name].items():
        lengthened = set() if "resnet" in name or stack == "text" else {"embed.in"}
        assert set(sites_of(anatomy, stack, None)) == {"embed.out", "final.out"} | lengthened
        prefixed = {"attn.kv", "cross_attn.kv"} if expected >= CROSS else {"attn.kv"}
        prefixed = set() if name.startswith("timm") else prefixed
        for layer in range(depth):
            assert set(sites_of(anatomy, stack, layer)) == expected | prefixed
    assert max(Counter((s.full_name, s.layer) for s in anatomy.sites).values()) == 1


def test_meta_and_real_models_have_one_anatomy() -> None:
    for name in FAMILIES:
        assert study(build(name, "meta"), name="x") == study(build(name), name="x")


def test_study_leaves_the_model_as_it_was(model: nn.Module) -> None:
    model.train()
    attention = getattr(getattr(model, "config", None), "_attn_implementation", None)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    study(model)
    assert all(module.training for module in model.modules())
    assert getattr(getattr(model, "config", None), "_attn_implementation", None) == attention
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_every_site_sees_a_tensor_of_its_width(model: nn.Module) -> None:
    streams = [site for site in study(model).sites if site.when in ("before", "after")]
    seen = see(model, streams)
    assert set(seen) == set(streams)
    for site, h in seen.items():
        assert h.shape[{"btd": -1, "bchw": 1, "bhwd": -1}[site.layout]] == site.width, site
        assert h.dim() == (3 if site.layout == "btd" else 4), site


def branches_of(layer: dict[str, Site]) -> list[str]:
    """Names of the branches of a layer, in order of execution (dicts keep the order of the anatomy)."""
    return [name.removesuffix(".out") for name in layer if name.endswith(".out") and name != "block.out"]


def test_out_is_what_the_branch_adds_to_the_stream(transformer: nn.Module) -> None:
    """stream + out is the sum; a post-norm makes it the next stream; the last one is the block's output."""
    anatomy = study(transformer)
    seen = see(transformer, anatomy.sites)
    for layer in layers_of(anatomy):
        names = branches_of(layer)
        for name, following in zip(names, [*names[1:], None], strict=True):
            total = seen[layer[f"{name}.stream"]] + seen[layer[f"{name}.out"]]
            place = layer.get(f"{name}.sum")
            if place is not None:
                torch.testing.assert_close(seen[place], total, msg=lambda m, p=place: f"{p}: {m}")
            if place is not None and place.norm:
                with torch.no_grad():
                    total = transformer.get_submodule(place.path)(total)
            following_site = layer[f"{following}.stream"] if following else layer["block.out"]
            torch.testing.assert_close(seen[following_site], total)


def test_the_first_stream_is_what_enters_the_block(transformer: nn.Module) -> None:
    anatomy = study(transformer)
    seen = see(transformer, anatomy.sites)
    for layer in layers_of(anatomy):
        assert torch.equal(seen[layer["attn.stream"]], seen[layer["block.in"]])


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "t5-gated", "vit", "clip", "timm-vit"])
def test_without_its_branches_a_pre_norm_block_is_the_identity(name: str) -> None:
    model = build(name)
    for layer in layers_of(study(model)):
        with contextlib.ExitStack() as shut:
            for branch in branches_of(layer):
                shut.enter_context(at(model, layer[f"{branch}.out"], torch.zeros_like))
            seen = see(model, list(layer.values()))
        assert torch.equal(seen[layer["block.in"]], seen[layer["block.out"]])


def test_in_is_all_that_the_branch_reads_and_nothing_else(transformer: nn.Module) -> None:
    """A change at `in` reaches every first projection and, with the branch's output shut, nothing beyond."""
    anatomy = study(transformer)
    firsts = {"attn": ("q", "k", "v"), "cross_attn": ("q",), "mlp": ("up", "gate")}
    for layer in layers_of(anatomy)[1:2]:
        for name in branches_of(layer):
            watched = list(layer.values())
            plain = see(transformer, watched)
            with at(transformer, layer[f"{name}.in"], lambda h: h + torch.arange(h.shape[-1])):
                changed = see(transformer, watched)
                with at(transformer, layer[f"{name}.out"], torch.zeros_like):
                    shut = see(transformer, watched)
            with at(transformer, layer[f"{name}.out"], torch.zeros_like):
                shut_plain = see(transformer, watched)
            for role in firsts[name]:
                if site := layer.get(f"{name}.{role}"):
                    assert not torch.allclose(plain[site], changed[site]), site
            assert torch.equal(shut[layer["block.out"]], shut_plain[layer["block.out"]])


def test_o_reads_nothing_if_the_values_are_zero(transformer: nn.Module) -> None:
    """Tells v from q and k, also as columns of a fused projection."""
    anatomy = study(transformer)
    for layer in layers_of(anatomy)[:1]:
        value, last = layer["attn.v"], layer["attn.o"]
        read = Site("read", value.stack, value.layer, last.path, "before", last.in_width or 0)

        def shut(h: Tensor, value: Site = value) -> Tensor:
            h = h.clone()
            h[..., slice(*value.columns) if value.columns else slice(None)] = 0
            return h

        with at(transformer, value, shut):
            assert not see(transformer, [read])[read].any()


def test_fused_columns_cover_their_projection() -> None:
    for name in ("gpt2", "timm-vit"):
        layer = layers_of(study(build(name)))[0]
        assert [layer[f"attn.{role}"].columns for role in "qkv"] == [(0, 16), (16, 32), (32, 48)]


@pytest.mark.parametrize(("name", "activation"), [("llama", "silu"), ("t5-gated", "gelu_new")])
def test_the_gate_is_the_activated_one(name: str, activation: str) -> None:
    from transformers.activations import ACT2FN

    model = build(name)
    layer = layers_of(study(model))[0]
    down = Site("read", "", 0, layer["mlp.down"].path, "before", 24)
    seen = see(model, [*layer.values(), down])
    expected = ACT2FN[activation](seen[layer["mlp.gate"]]) * seen[layer["mlp.up"]]
    torch.testing.assert_close(seen[down], expected)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "clip"])
def test_final_out_is_the_last_hidden_state(name: str) -> None:
    model = build(name)
    anatomy = study(model)
    last = anatomy.stacks[-1].name
    site = sites_of(anatomy, last, None)["final.out"]
    assert torch.equal(see(model, [site])[site], forward(model).last_hidden_state)


def test_embed_out_and_final_out_of_timm() -> None:
    for name in ("timm-vit", "timm-resnet-basic"):
        model = build(name)
        ends = sites_of(study(model), "", None)
        seen = see(model, list(ends.values()))
        pixels = torch.randn(
            (2, 3, *((32, 32) if "vit" in name else (224, 224))), generator=torch.Generator().manual_seed(1)
        )
        with torch.no_grad():
            assert torch.equal(seen[ends["final.out"]], model.forward_features(pixels))


@pytest.mark.parametrize(("name", "norm"), [("timm-resnet-basic", "bn2"), ("timm-resnet-bottleneck", "bn3")])
def test_conv_out_is_normed_and_added_to_the_shortcut(name: str, norm: str) -> None:
    model = build(name)
    anatomy = study(model)
    layer = sites_of(anatomy, "", 1)
    seen = see(model, list(layer.values()))
    block = model.get_submodule(layer["block.out"].path)
    with torch.no_grad():
        expected = torch.relu(getattr(block, norm)(seen[layer["conv.out"]]) + seen[layer["block.in"]])
    torch.testing.assert_close(seen[layer["block.out"]], expected)
    assert [site.width for site in anatomy.sites if site.name == "block.out"] == [
        block.bn2.num_features if norm == "bn2" else block.bn3.num_features
        for block in map(model.get_submodule, anatomy.stacks[0].blocks)
    ]


def test_houlsby_and_pfeiffer_places_of_bert() -> None:
    layer = sites_of(study(build("bert", "meta")), "", 1)
    assert layer["mlp.out"].path == "encoder.layer.1.output.dense"
    assert layer["mlp.out"].when == "after"
    assert layer["mlp.sum"].path == "encoder.layer.1.output.LayerNorm"
    assert layer["mlp.sum"].when == "before"
    assert layer["mlp.sum"].norm
    assert layer["attn.out"].path == "encoder.layer.1.attention.output.dense"
    assert layer["attn.sum"].path == "encoder.layer.1.attention.output.LayerNorm"


def test_a_missing_sum_is_said() -> None:
    assert any("attn.sum does not exist here" in note for note in study(build("gpt2", "meta")).notes)
    assert not study(build("bert", "meta")).notes


@pytest.mark.parametrize(
    ("name", "site", "path"),
    [
        ("modernbert", "mlp.stream", "layers.0.mlp_norm"),  # its first block has no norm before the attention
        ("falcon", "attn.stream", "h.0.ln_attn"),  # parallel branches with a norm each
        ("falcon", "mlp.stream", "h.0.ln_mlp"),
        ("olmo", "attn.stream", "layers.0.input_layernorm"),  # norms without a gain
        ("opt", "mlp.stream", "decoder.layers.0.final_layer_norm"),  # reads (B * T, D)
        ("wavlm", "mlp.stream", "encoder.layers.0.feed_forward.intermediate_dense"),  # post-norm behind a dropout
        ("rwkv", "attn.stream", "blocks.0.ln1"),  # the first block norms the stream itself before
        ("instructblip", "cross_attn.stream", "qformer.encoder.layer.0.crossattention.attention.query"),
        ("timm_coat", "mlp.stream", "serial_blocks1.0.norm2"),
        ("timm_swin_transformer", "attn.stream", "layers.0.blocks.0.norm1"),  # rolled before it is read
    ],
)
def test_the_stream_is_before_a_norm_of_the_branch_and_behind_a_norm_of_the_stream(
    name: str, site: str, path: str
) -> None:
    found = [each for each in ZOO[name].anatomy().sites if each.name == site and each.path == path]
    assert [each.when for each in found] == ["before"]
