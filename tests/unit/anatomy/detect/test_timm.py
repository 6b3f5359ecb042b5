"""What detection finds in timm's models of other forms than a column of transformer blocks."""

from __future__ import annotations

import timm
import torch
from torch import nn

from adaptkit.anatomy import Anatomy, Site, dummy_inputs, study
from tests.unit.anatomy.tiny_families import at, see


def skeleton(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, num_classes=0, **options)


def study_timm(name: str, **options: object) -> Anatomy:
    return study(skeleton(name, **options))


def names(anatomy: Anatomy, layer: int, stack: str = "") -> list[str]:
    return [site.name for site in anatomy.sites if (site.layer, site.stack) == (layer, stack)]


def site(anatomy: Anatomy, name: str, layer: int | None) -> Site:
    return next(site for site in anatomy.sites if (site.name, site.layer) == (name, layer))


def test_blocks_under_numbered_names_are_a_stack() -> None:
    (stack,) = study_timm("regnety_002").stacks
    assert stack.depth == 13
    assert stack.blocks[0] == "s1.b1"


def test_a_stage_of_several_kinds_of_blocks_is_a_list_of_them() -> None:
    anatomy = study_timm("botnet26t_256")
    assert [stack.depth for stack in anatomy.stacks] == [8]
    last = [*names(anatomy, 7)]
    assert last == ["block.in", "conv.in", "conv.1", "attn.qkv", "conv.2", "conv.out", "block.out"]


def test_branches_beside_each_other_are_no_stack() -> None:
    """The four branches of an Inception module read one tensor: the modules count."""
    (stack,) = study_timm("inception_v3").stacks
    assert stack.blocks[0] == "Mixed_5b"
    assert len(stack.blocks) == 11


def test_cells_of_many_numbered_parts_are_blocks() -> None:
    (stack,) = study_timm("nasnetalarge").stacks
    assert set(stack.blocks) >= {"cell_0", "reduction_cell_1", "cell_17"}
    assert all(block.count(".") == 0 for block in stack.blocks)


def test_a_network_of_convolutions_alone_has_them_as_blocks() -> None:
    anatomy = study_timm("vgg11")
    assert anatomy.stacks[0].depth == 8
    assert names(anatomy, 3) == ["block.in", "conv.in", "conv.1", "conv.out", "block.out"]
    first = site(anatomy, "conv.1", 0)
    assert (first.in_width, first.width, first.layout) == (3, 64, "bchw")


def test_convolutions_are_numbered_in_order_of_execution() -> None:
    anatomy = study_timm("resnet50")
    assert names(anatomy, 0) == ["block.in", "conv.in", "conv.1", "conv.2", "conv.3", "conv.out", "block.out"]
    paths = [(site(anatomy, f"conv.{i}", 0).path, site(anatomy, f"conv.{i}", 0).in_width) for i in (1, 2, 3)]
    assert paths == [("layer1.0.conv1", 64), ("layer1.0.conv2", 64), ("layer1.0.conv3", 64)]


def test_gates_are_no_convolutions_of_the_branch() -> None:
    """Squeeze and excitation works on one vector per image: not on the map that sites are about."""
    anatomy = study_timm("seresnet50")
    assert names(anatomy, 0) == ["block.in", "conv.in", "conv.1", "conv.2", "conv.3", "conv.out", "block.out"]
    assert not any(".fc" in each.path for each in anatomy.sites)


def test_a_block_that_concatenates_has_its_convolutions_and_no_conv_out() -> None:
    found = names(study_timm("inception_v3"), 0)
    assert found == ["block.in", *(f"conv.{i}" for i in range(1, 8)), "block.out"]


def test_a_block_that_is_given_a_list_has_no_place_before_it() -> None:
    anatomy = study_timm("densenet121")
    assert "block.in" not in names(anatomy, 0)
    assert "embed.out" not in {each.name for each in anatomy.sites}
    assert site(anatomy, "final.out", None).path == "features.norm5"


def test_two_pointwise_convolutions_are_an_mlp() -> None:
    anatomy = study_timm("convnext_atto")
    found = names(anatomy, 0)
    assert {"mlp.stream", "mlp.in", "mlp.up", "mlp.down", "mlp.out"} <= set(found)
    assert site(anatomy, "mlp.up", 0).layout == "bchw"


def test_final_out_is_what_the_features_end_with() -> None:
    for name in ("efficientnet_b0", "inception_resnet_v2", "swin_tiny_patch4_window7_224", "dpn68", "hrnet_w18_small"):
        model = skeleton(name)
        last = [each for each in study(model).sites if each.name == "final.out"][-1]
        assert last.width == model.num_features, name


def test_a_projection_that_does_not_run_is_no_site() -> None:
    """BEiT multiplies by the weight of `qkv` itself, with a bias of its own making: no hook on it ever fires."""
    anatomy = study_timm("beit_base_patch16_224", embed_dim=16, depth=2, num_heads=2)
    found = names(anatomy, 0)
    assert found[1:5] == ["attn.stream", "attn.in", "attn.o", "attn.out"]
    assert not any(each.path.endswith("qkv") for each in anatomy.sites)


def test_a_fused_projection_that_is_split_per_head_is_one_site() -> None:
    """The views of the forward tell: LeViT and TinyViT deal q, k and v out head by head, ViT does not."""
    for name in ("tiny_vit_5m_224", "levit_128s", "maxvit_nano_rw_256"):
        found = {each.name for each in study_timm(name).sites}
        assert "attn.qkv" in found, name
        assert not found & {"attn.q", "attn.k", "attn.v"}, name
    assert site(study_timm("vit_tiny_patch16_224"), "attn.k", 0).columns == (192, 384)


def test_two_fused_projections_have_the_columns_of_each() -> None:
    found = study_timm("pvt_v2_b0")
    assert site(found, "attn.q", 0).columns is None
    assert [site(found, f"attn.{role}", 0).columns for role in "kv"] == [(0, 32), (32, 64)]
    found = study_timm("convit_tiny")
    assert [site(found, f"attn.{role}", 0).columns for role in "qkv"] == [(0, 192), (192, 384), None]


def test_layouts_are_those_of_the_place() -> None:
    """Swin: maps (B, H, W, C) between blocks, tokens inside. ConvNeXt: maps (B, C, H, W), turned for its MLP."""
    swin = study_timm("swin_tiny_patch4_window7_224")
    assert [site(swin, name, 0).layout for name in ("block.in", "attn.in", "mlp.in")] == ["bhwd", "btd", "btd"]
    convnext = study_timm("convnext_tiny")
    assert [site(convnext, name, 0).layout for name in ("block.in", "mlp.in", "block.out")] == ["bchw", "bhwd", "bchw"]


def test_layers_know_the_width_of_their_stage() -> None:
    widths = [each.width for each in study_timm("swin_tiny_patch4_window7_224").sites if each.name == "mlp.out"]
    assert widths == [96] * 2 + [192] * 2 + [384] * 6 + [768] * 2


def test_a_second_stream_is_a_second_branch() -> None:
    anatomy = study_timm("tnt_s_legacy_patch16_224", depth=1)
    assert [site(anatomy, name, 0).width for name in ("attn.out", "attn2.out")] == [24, 384]


def test_studying_leaves_shared_modules_their_weights() -> None:
    """CoaT's blocks share modules with the model: each keeps its tensors, and the forward still runs."""
    model = timm.create_model("coat_lite_tiny", num_classes=0, embed_dims=(8, 8, 8, 8), serial_depths=(1, 1, 1, 1))
    study(model)
    assert not any(parameter.is_meta for parameter in model.parameters())
    with torch.no_grad():
        model.eval()(**dummy_inputs(model, 1, device="cpu"))


def test_zero_values_leave_the_last_projection_nothing_to_read() -> None:
    for name, options in (("pvt_v2_b0", {}), ("convit_tiny", {"depth": 1}), ("crossvit_9_240", {})):
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=0, **options).eval()
        anatomy = study(model)
        value = next(each for each in anatomy.sites if each.name == "attn.v" and each.layer == 0)
        last = next(each for each in anatomy.sites if each.name == "attn.o" and each.path.startswith(_host(value)))
        read = Site("read", value.stack, 0, last.path, "before", last.in_width or 0)

        def shut(h: torch.Tensor, value: Site = value) -> torch.Tensor:
            h = h.clone()
            h[..., slice(*value.columns) if value.columns else slice(None)] = 0
            return h

        with at(model, value, shut):
            assert not see(model, [read])[read].any(), name


def _host(each: Site) -> str:
    return each.path.rpartition(".")[0]
