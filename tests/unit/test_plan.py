"""Plans of many backbones: counts, sites, and every refusal with its place."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adaptkit.errors import AdaptkitError, RecipeError, SiteError
from adaptkit.model import build_model
from adaptkit.model.costing import SavedTensors, batches, cost, dummy
from adaptkit.plan import Plan, make_plan
from adaptkit.recipe import load_recipe, parse_recipe

TEXT = {"plot": {"kind": "text", "route": "backbone"}}
IMAGE = {"photo": {"kind": "image", "route": "backbone"}}
POSTER = {"poster": {"kind": "features", "width": 4096, "route": "side"}}
OWN_POSITIONS = {"kind": "wander", "at": "encoder.mlp.out", "sides": ["frames"], "positions": "own"}
FRAMES = {"frames": {"kind": "features", "width": 20, "max_tokens": 4, "route": "side"}}


def plan(model: str, modality: dict[str, Any], adapter: dict[str, Any], **more: Any) -> Plan:
    tables = {
        "schema": 1,
        "name": "test",
        "backbone": {"model": model, **more.pop("backbone", {})},
        "modality": modality,
        "adapter": adapter,
        "data": {"format": "jsonl"},
        "task": {"genres": {"kind": "multilabel", "labels": [str(i) for i in range(13)], **more.pop("task", {})}},
        "train": more.pop("train", {}),
    }
    assert not more
    return make_plan(parse_recipe(tables))


def gmu(*sides: str, at: tuple[str, ...] = ("attn.out", "mlp.out"), **options: Any) -> dict[str, Any]:
    return {"fuse": {"kind": "gmu", "at": list(at), "sides": list(sides), **options}}


def test_the_published_counts_of_multimodal_adapters() -> None:
    """One modality of width 4096 in BERT-base: 9,102,336 in 24 adapters, 602,125 in the head."""
    found = plan("bert-base", TEXT | POSTER, gmu("poster", expect=24), task={"head": {"kind": "mlp"}})
    assert found.parameters.adapters == 9_102_336
    assert found.parameters.heads == 602_125
    assert found.parameters.trainable == 9_704_461
    assert found.parameters.backbone == 109_482_240
    assert found.parameters.total == 109_482_240 + 9_704_461
    text_only = {"text": {"kind": "bottleneck", "at": ["attn.out", "mlp.out"], "bottleneck": 64, "norm_before": True}}
    assert plan("bert-base", TEXT, text_only).parameters.adapters == 2_416_128


CASES = [
    ("roberta-base", TEXT | FRAMES, {"w": {"kind": "wander", "at": "mlp.out", "sides": ["frames"]}}, 12),
    ("distilbert", TEXT, {"p": {"kind": "bottleneck", "at": "mlp.out", "read": "stream"}}, 6),
    ("gpt2", TEXT, {"l": {"kind": "lora", "at": ["attn.q", "attn.v"]}}, 24),
    ("t5-small", TEXT, {"b": {"kind": "bottleneck", "at": ["decoder.cross_attn.out"]}}, 6),
    ("bart-base", TEXT | POSTER, gmu("poster", at=("mlp.out",)), 12),
    ("vit-base", IMAGE | FRAMES, {"w": {"kind": "wander", "at": "mlp.out", "sides": ["frames"]}}, 12),
    ("clip-vit-base-patch32", TEXT | IMAGE, {"l": {"kind": "lora", "at": "vision.attn.q"}}, 12),
    ("timm/vit_tiny_patch16_224", IMAGE, {"l": {"kind": "lora", "at": ["attn.q"]}}, 12),
    ("timm/resnet18", IMAGE | POSTER, gmu("poster", at=("block.out",)), 8),
]


@pytest.mark.parametrize(("model", "modality", "adapter", "grafts"), CASES, ids=[case[0] for case in CASES])
def test_every_family_has_a_plan_and_a_cost(model: str, modality: dict, adapter: dict, grafts: int) -> None:
    found = plan(model, modality, adapter, backbone={"max_tokens": 16} if "plot" in modality else {})
    assert len(found.grafts) == grafts
    counts = found.parameters
    assert counts.total == counts.backbone + counts.adapters + counts.encoders + counts.heads
    assert counts.trainable == counts.adapters + counts.encoders + counts.heads
    assert counts.adapters == sum(graft.parameters for graft in found.grafts)
    estimate = cost(found)
    assert 0 < estimate.flops.forward < estimate.flops.step
    assert estimate.memory.weights >= 4 * counts.total
    assert estimate.memory.gradients == 4 * counts.trainable
    assert estimate.memory.optimizer == 2 * estimate.memory.gradients
    assert estimate.memory.activations > 0


def test_flops_are_those_of_the_matrix_products() -> None:
    """DistilBERT, one text of 8 tokens: 6 blocks of 4 D² + 8 D² weights, plus attention, plus the head."""
    text = {"plot": {"kind": "text", "route": "backbone", "max_tokens": 8}}
    found = cost(plan("distilbert", text, {}, train={"batch_size": 1}))
    d, t = 768, 8
    assert found.flops.forward == 6 * (2 * t * 12 * d * d + 4 * t * t * d) + 2 * d * 13
    head_gradients = 2 * d * 13  # of its weight; nothing below it needs one
    assert found.flops.step == found.flops.forward + head_gradients


def test_less_is_kept_when_only_the_last_layers_are_grafted() -> None:
    every, last = (
        cost(plan("distilbert", TEXT, {"b": {"kind": "bottleneck", "at": "mlp.out", "layers": layers}})).memory
        for layers in ("all", "last")
    )
    assert last.activations < every.activations / 3


def test_gradient_checkpointing_and_plain_sgd_need_less_memory() -> None:
    adapter = {"b": {"kind": "bottleneck", "at": "mlp.out"}}
    plain = cost(plan("distilbert", TEXT, adapter)).memory
    spared = cost(
        plan("distilbert", TEXT, adapter, train={"gradient_checkpointing": True, "optimizer": {"name": "sgd"}})
    ).memory
    assert spared.activations < plain.activations / 2
    assert spared.optimizer == 0


def test_activations_are_what_autograd_keeps_of_a_real_step() -> None:
    """To the byte, in a model without attention, whose fused kernels keep less; weights are none."""
    backbone = {"model": "timm/mixer_s32_224", "config": {"img_size": 64}}
    adapter = {"b": {"kind": "bottleneck", "at": "block.out", "bottleneck": 4}}
    found = plan("", IMAGE, adapter, backbone=backbone, train={"batch_size": 2})
    model = build_model(found).train()
    saved = SavedTensors(model.parameters())
    photo = dict(model.named_encoders())["photo"]
    batch = {"photo": {key: torch.ones(like.shape, dtype=like.dtype) for key, like in dummy(photo, 2).items()}}
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack):
        model(batch)["genres"].sum().backward()
    assert cost(found).memory.activations == saved.bytes > 0


def test_a_step_of_several_sources_is_that_of_the_largest_batch() -> None:
    """A batch is of one source; a task may ask for its own size."""
    source, task = {"format": "jsonl", "root": "data"}, {"kind": "classification", "labels": ["no", "yes"]}
    given = {
        "name": "several",
        "backbone": {"model": "distilbert", "max_tokens": 16},
        "modality": TEXT,
        "data": {"format": "mixture", "sources": {"small": source, "large": source}},
        "task": {"small": task, "also": {**task, "source": "small", "batch_size": 2}, "large": task},
        "train": {"batch_size": 8},
    }
    both = cost(make_plan(parse_recipe(given)))
    assert (both.batch_size, both.tasks) == (8, ("large",))
    alone = cost(make_plan(parse_recipe({**given, "data": source, "task": {"large": task}})))
    assert (both.flops, both.memory.activations) == (alone.flops, alone.memory.activations)
    together = {"small": task, "also": {**task, "batch_size": 2}}
    shared = cost(make_plan(parse_recipe({**given, "data": source, "task": together})))
    assert (shared.batch_size, shared.tasks) == (2, ("small", "also"))


def test_answers_that_another_task_outweighs_all_round_are_not_counted() -> None:
    sizes = {"short": (8, 4), "many": (16, 4), "long": (2, 32), "few": (2, 4), "twin": (16, 4)}
    answer = {"kind": "generation", "max_tokens": 4}
    tasks = {name: {**answer, "batch_size": size, "max_tokens": most} for name, (size, most) in sizes.items()}
    told = parse_recipe(
        {
            "name": "several",
            "backbone": {"model": "t5-small"},
            "modality": TEXT,
            "data": {"format": "mixture", "sources": {name: {"format": "jsonl", "root": "data"} for name in sizes}},
            "task": tasks,
        }
    )
    assert {told.batch_size(tasks) for tasks in batches(told)} == {16, 2}
    assert len(batches(told)) == 2


def test_unfreezing_counts_and_names() -> None:
    norms = plan("distilbert", TEXT, {}, backbone={"train": ["norm"]})
    assert len(norms.unfrozen) == 2 * (2 * 6 + 1)
    everything = plan("distilbert", TEXT, {}, backbone={"train": ["all"]})
    assert everything.parameters.trainable == everything.parameters.total
    last = plan("distilbert", TEXT, {}, backbone={"train": ["transformer.layer.5.*"]})
    assert all(name.startswith("transformer.layer.5.") for name in last.unfrozen)


def test_modalities_of_route_fusion_join_the_pooled_vector_unless_an_adapter_reads_them() -> None:
    modality = TEXT | {"poster": POSTER["poster"] | {"route": "fusion"}}
    joined = plan("distilbert", modality, {})
    assert joined.joined == ("poster",)
    assert joined.head_width == 768 + 4096
    read = plan("distilbert", modality, gmu("poster", at=("fusion",)))
    assert read.joined == ()
    assert read.head_width == 768
    assert [graft.site.name for graft in read.at_fusion] == ["fusion"]


def test_tokens_go_before_the_text_and_leave_it_less_room() -> None:
    modality = TEXT | {"frames": FRAMES["frames"] | {"route": "tokens"}}
    found = plan("distilbert", modality, {"w": {"kind": "bottleneck", "at": "mlp.out"}})
    assert found.grafts[0].host.tokens == 512
    assert found.parameters.encoders == 20 * 768 + 768
    with pytest.raises(SiteError, match="512 positions, of which 4 are taken"):
        plan("distilbert", modality, {}, backbone={"max_tokens": 510})


LORA = {"kind": "lora"}
REFUSED = [
    ("bert-base", TEXT, {"b": {"kind": "bottleneck", "at": "mlp.uot"}}, {}, 5, "mlp.out"),
    ("bert-base", TEXT, {"b": {"kind": "bottleneck", "at": "cross_attn.out"}}, {}, 5, "cross_attn.out"),
    ("bert-base", TEXT, {"b": {"kind": "bottleneck", "at": "mlp.out", "layers": "3..14"}}, {}, 5, "0..11"),
    ("bert-base", TEXT, {"b": {"kind": "bottleneck", "at": "mlp.out", "expect": 24}}, {}, 5, "12 grafts were found"),
    ("bert-base", TEXT, {"b": {"kind": "lora", "at": "mlp.out"}}, {}, 5, "changes the weight of a projection"),
    ("bert-base", TEXT, {"b": {"kind": "lora", "at": "attn.q", "rank": 4096}}, {}, 5, "rank <= 768"),
    ("bert-base", TEXT, {"b": {"kind": "bottleneck", "at": "mlp.out", "activation": "gleu"}}, {}, 5, '"gelu"'),
    ("bert-base", TEXT, {"b": {"kind": "bottleneck", "at": "block.out", "read": "stream"}}, {}, 5, "no place"),
    ("bert-base", TEXT, {"b": {"kind": "bottleneck", "at": "path:encoder.layr.*"}}, {}, 5, "path:"),
    ("bert-base", TEXT, {"b": {"kind": "bottleneck", "at": "fusion", "layers": "last"}}, {}, 5, "no meaning"),
    (
        "bert-base",
        TEXT,
        {"b": {"kind": "bottleneck", "at": ["mlp.out", "path:encoder.layer.*.output.dense"]}},
        {},
        5,
        "already carries an adapter 'b'",
    ),
    ("gpt2", TEXT, {"b": LORA | {"at": "attn.q"}, "b_q": LORA | {"at": "path:h.*.c_attn"}}, {}, 5, "'b_q'"),
    ("bert-base", TEXT, {}, {"backbone": {"train": ["nrom"]}}, 5, '"norm"'),
    ("bert-base", TEXT, {}, {"backbone": {"max_tokens": 4096}}, 5, "512 positions"),
    ("bert-base", TEXT, {"update": {"kind": "bottleneck", "at": "mlp.out"}}, {}, 3, "update_adapter"),
    ("bert-bse", TEXT, {}, {}, 3, '"bert-base"'),
    ("bert-base", IMAGE, {}, {}, 3, "bert-base reads text"),
    ("gpt2", TEXT, {}, {"backbone": {"pool": "pooler"}}, 5, "no pooler"),
    ("vit-base", IMAGE | {"f": FRAMES["frames"] | {"route": "tokens"}}, {}, {}, 3, "needs a backbone that reads text"),
    ("nobody/nothing-of-this-name", TEXT, {}, {}, 7, "network"),
    ("timm/resnet9000", IMAGE, {}, {}, 3, "timm"),
    ("t5-small", TEXT | FRAMES, {"w": OWN_POSITIONS}, {}, 5, "max_tokens"),
]


@pytest.mark.parametrize(("model", "modality", "adapter", "more", "code", "text"), REFUSED)
def test_refusals(model: str, modality: dict, adapter: dict, more: dict, code: int, text: str) -> None:
    with pytest.raises(AdaptkitError) as caught:
        plan(model, modality, adapter, **more)
    assert caught.value.code == code, str(caught.value)
    assert text in str(caught.value)


def test_an_error_found_while_planning_names_file_and_line(tmp_path) -> None:
    file = tmp_path / "r.toml"
    file.write_text(
        'schema = 1\nname = "r"\n\n[backbone]\nmodel = "bert-base"\n\n[modality.t]\nkind = "text"\n'
        'route = "backbone"\n\n[modality.i]\nkind = "image"\nroute = "side"\n\n[adapter.g]\nkind = "gmu"\n'
        'at = ["mlp.out"]\nsides = ["i"]\n\n[data]\nformat = "jsonl"\n\n[task.y]\nkind = "classification"\n'
        'labels = ["a", "b"]\n'
    )
    with pytest.raises(RecipeError) as caught:
        make_plan(load_recipe(file))
    (problem,) = caught.value.problems
    assert problem.where.endswith("r.toml:11")
    assert problem.message.startswith("modality.i.size")
    file.write_text(file.read_text().replace('route = "side"', 'route = "side"\nsize = 8').replace("mlp.out", "mlp.ut"))
    with pytest.raises(SiteError) as caught:
        make_plan(load_recipe(file))
    assert caught.value.problems[0].where.endswith("r.toml:18")
