"""Towers: models beside the backbone, their adapters, and adapters that read their blocks."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adaptkit.anatomy import fingerprint
from adaptkit.artifact import load_artifact, merge, save_artifact
from adaptkit.cli.main import main
from adaptkit.errors import ArtifactError, RecipeError, SiteError, UnavailableError
from adaptkit.model import AdaptedModel, build_model
from adaptkit.model.costing import cost
from adaptkit.plan import Plan, make_plan
from adaptkit.recipe import parse_recipe, resolved_toml
from adaptkit.surgery import remove

# B batch, T tokens

SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
VIT = {"model": "vit", "config": SMALL | {"num_hidden_layers": 4, "image_size": 16, "patch_size": 8}}
TIMM_VIT = {
    "model": "timm/vit_tiny_patch16_224",
    "config": {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 2, "num_heads": 2},
}
SOUND = {"model": "bert", "config": SMALL | {"vocab_size": 3, "max_position_embeddings": 8}}
LORA = {"kind": "lora", "rank": 2, "at": ["poster.attn.q"]}


def tables(folder: Path, adapters: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A text backbone, an image with a tower, and a sequence of features with one."""
    poster = {"kind": "image", "route": "side", "missing": "zero", "tower": VIT | more.pop("tower", {})}
    sound = {"kind": "features", "width": 3, "max_tokens": 5, "route": "fusion", "missing": "zero", "tower": SOUND}
    return {
        "schema": 1,
        "name": "towers",
        "backbone": {"model": str(folder), "max_tokens": 12},
        "modality": {
            "question": {"kind": "text", "route": "backbone"},
            "poster": poster | more.pop("poster", {}),
            "sound": sound | more.pop("sound", {}),
        },
        "adapter": adapters,
        "data": {"format": "jsonl"},
        "task": {"answer": {"kind": "classification", "labels": ["no", "yes"]}} | more.pop("tasks", {}),
        "train": more,
    }


def plan_of(folder: Path, adapters: dict[str, Any], **more: Any) -> Plan:
    return make_plan(parse_recipe(tables(folder, adapters, **more)))


def build(folder: Path, adapters: dict[str, Any], **more: Any) -> AdaptedModel:
    return build_model(plan_of(folder, adapters, **more), seed=3)


GMU = {"kind": "gmu", "at": ["mlp.out"], "sides": ["poster"], "bottleneck": 3}
DEEP = {"kind": "cross_attention", "at": ["block.out"], "sides": ["poster@block.out"], "bottleneck": 4}
IN_TOWER = {"kind": "wander", "at": ["poster.mlp.out"], "sides": ["sound"], "rank": 3, "drank": 2, "trank": 2}
ACROSS = {"kind": "gmu", "at": ["poster.mlp.out"], "sides": ["sound@block.out"], "bottleneck": 3}
BACK = {"kind": "gmu", "at": ["poster.block.out"], "sides": ["backbone@block.out"], "bottleneck": 3}
TO_SOUND = BACK | {"sides": ["sound@block.out"]}
TO_POSTER = BACK | {"at": ["sound.block.out"], "sides": ["poster@block.out"]}
CASES: dict[str, dict[str, Any]] = {
    "backbone reads the tower": {"g": GMU},
    "backbone reads its blocks": {"d": DEEP},
    "adapters in the tower": {"g": GMU, "t": {"kind": "bottleneck", "at": ["poster.mlp.out"], "bottleneck": 2}},
    "weights of the tower": {"g": GMU, "l": LORA},
    "tower reads another modality": {"g": GMU, "t": IN_TOWER},
    "tower reads another tower": {"g": GMU, "t": ACROSS},
    "tower reads a tower, backbone reads both": {"t": ACROSS, "d": DEEP, "e": GMU | {"sides": ["sound"]}},
    "blocks at fusion": {"d": DEEP | {"at": ["fusion"]}},
    "backbone and tower in step": {"d": DEEP, "b": BACK | {"layers": "0..2"}},
    "two towers in step": {"t": TO_SOUND, "s": TO_POSTER, "d": DEEP},
    "a prompt in a tower": {"g": GMU, "p": {"kind": "prompt", "length": 2, "at": ["sound.embed.in"]}},
}


def batch(
    model: AdaptedModel, texts: list[str], posters: Sequence[int | None], sounds: Sequence[int | None]
) -> dict[str, dict[str, Tensor]]:
    """Texts, images that a number stands for, and sounds of so many vectors; None is absent."""
    encoders, ids = dict(model.named_encoders()), [str(i) for i in range(len(texts))]
    images = [None if n is None else np.random.default_rng(n).random((16, 16, 3)) for n in posters]
    vectors = [None if n is None else np.random.default_rng(n).random((n, 3)) for n in sounds]
    return {
        "question": encoders["question"].collate(texts, ids),
        "poster": encoders["poster"].collate([encoders["poster"].prepare(x, "here") for x in images], ids),
        "sound": encoders["sound"].collate([encoders["sound"].prepare(x, "here") for x in vectors], ids),
    }


def stirred(model: AdaptedModel) -> AdaptedModel:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def logits(model: AdaptedModel, inputs: dict[str, dict[str, Tensor]]) -> Tensor:
    with torch.no_grad():
        return model(inputs)["answer"]


TEXTS, POSTERS, SOUNDS = ["is it big ?", "the red thing", "a"], [1, 2, 3], [2, 5, 1]


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def adapters(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


def without_read(adapters: dict[str, Any]) -> dict[str, Any]:
    """Route "fusion" for a poster that nobody reads."""
    read = [side.partition("@")[0] for spec in adapters.values() for side in spec.get("sides", [])]
    return {} if "poster" in read else {"poster": {"route": "fusion"}}


def test_a_sample_is_the_same_alone_and_in_any_batch(tiny_bert: Path, adapters: dict) -> None:
    model = stirred(build(tiny_bert, adapters))
    together = logits(model, batch(model, TEXTS, [1, None, 3], [2, 5, None]))
    alone = [
        logits(model, batch(model, [text], [poster], [sound]))
        for text, poster, sound in zip(TEXTS, [1, None, 3], [2, 5, None], strict=True)
    ]
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_what_is_read_matters_and_what_is_absent_does_not(tiny_bert: Path, adapters: dict) -> None:
    model = stirred(build(tiny_bert, adapters))
    one, other = (batch(model, TEXTS[:1], [poster], [2]) for poster in (1, 2))
    assert not torch.allclose(logits(model, one), logits(model, other))
    with torch.no_grad():
        dropped = [model(each, drop=["poster"])["answer"] for each in (one, other)]
    torch.testing.assert_close(*dropped)


def test_fresh_adapters_change_nothing_and_come_out_again(tiny_bert: Path, adapters: dict) -> None:
    model = build(tiny_bert, adapters)
    bare = copy.deepcopy(model)
    inputs = batch(model, TEXTS, POSTERS, SOUNDS)
    for name, receipt in bare.tower_receipts.items():
        remove(bare.towers[name], receipt, towers=bare.models)
    remove(bare.backbone, bare.receipt, towers=bare.models)
    remove(nn.ModuleDict({"fusion": bare.fusion}), bare.fusion_receipt, towers=bare.models)
    kept = [name for name, _ in bare.named_modules() if ".adapters" in name]
    hooked = [m for m in bare.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert (kept, hooked) == ([], [])
    same = torch.allclose(logits(bare, inputs), logits(model, inputs), rtol=1e-5, atol=1e-6)
    assert same != ("p" in adapters)  # a prompt is no identity


def test_only_what_is_meant_to_learns_and_all_of_it(tiny_bert: Path, adapters: dict) -> None:
    model = build(tiny_bert, adapters).train()
    before = {name: fingerprint(each) for name, each in {"": model.backbone, **model.towers}.items()}
    inputs = batch(model, TEXTS, POSTERS, SOUNDS)
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer, moved = torch.optim.Adam(learning.values(), lr=1e-2), set()
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs)["answer"], torch.tensor([0, 1, 0])).backward()
        moved |= {name for name, p in learning.items() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
        optimizer.step()
    assert moved == learning.keys()
    assert {name: fingerprint(each) for name, each in {"": model.backbone, **model.towers}.items()} == before


def test_gradient_checkpointing_gives_the_same_gradients(tiny_bert: Path, adapters: dict) -> None:
    models = [stirred(build(tiny_bert, adapters)) for _ in range(2)]
    models[1].enable_gradient_checkpointing()
    gradients = []
    for model in models:
        model.train()
        model(batch(model, TEXTS, POSTERS, SOUNDS))["answer"].square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_saved_and_loaded_it_is_the_same_to_the_bit(tiny_bert: Path, adapters: dict, tmp_path: Path) -> None:
    model = stirred(build(tiny_bert, adapters))
    assert not any(".tower.model." in name and ".adapters." not in name for name in model.trainable_state())
    save_artifact(model, tmp_path / "artifact")
    again = load_artifact(tmp_path / "artifact", base=tmp_path)
    inputs = batch(model, TEXTS, POSTERS, SOUNDS)
    assert torch.equal(logits(model, inputs), logits(again, inputs))
    assert torch.equal(logits(model, inputs), logits(copy.deepcopy(model), inputs))


def test_a_copy_runs_its_own_adapters(tiny_bert: Path, adapters: dict) -> None:
    model = stirred(build(tiny_bert, adapters))
    copied, inputs = copy.deepcopy(model), batch(model, TEXTS, POSTERS, SOUNDS)
    before = logits(copied, inputs)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    assert torch.equal(before, logits(copied, inputs))
    assert not torch.equal(before, logits(model, inputs))


def test_the_plan_counts_what_the_model_has(tiny_bert: Path, adapters: dict) -> None:
    plan = plan_of(tiny_bert, adapters)
    model = build_model(plan)
    counts = plan.parameters
    assert counts.total == sum(p.numel() for p in model.parameters())
    assert counts.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    of_towers = [(f".{name}", p) for tower in model.towers.values() for name, p in tower.named_parameters()]
    assert counts.towers == sum(p.numel() for name, p in of_towers if ".adapters." not in name) > 0
    assert set(plan.as_dict()["towers"]) == {"poster", "sound"}
    assert cost(plan).flops.forward > 0


def test_what_of_a_tower_trains_is_saved_and_counted(tiny_bert: Path, tmp_path: Path) -> None:
    plan = plan_of(tiny_bert, {"g": GMU}, tower={"train": ["norm"]})
    model = build_model(plan)
    norms = plan.towers["poster"].unfrozen
    assert norms
    assert all("norm" in name for name in norms)
    assert plan.parameters.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert {f"encoders.poster.tower.model.{name}" for name in norms} <= model.trainable_state().keys()
    original = {name: fingerprint(tower) for name, tower in model.towers.items()}
    stirred(model)
    with pytest.raises(ArtifactError, match="tower of poster was trained"):
        save_artifact(model, tmp_path / "artifact")
    save_artifact(model, tmp_path / "artifact", tower_fingerprints=original)
    inputs = batch(model, TEXTS, POSTERS, SOUNDS)
    assert torch.equal(logits(model, inputs), logits(load_artifact(tmp_path / "artifact", base=tmp_path), inputs))


def test_a_tower_of_another_weight_is_refused(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(tiny_bert, {"g": GMU})
    save_artifact(model, tmp_path / "artifact", tower_fingerprints={"poster": f"sha256:{'01' * 32}"})
    with pytest.raises(ArtifactError, match="another tower"):
        load_artifact(tmp_path / "artifact", base=tmp_path)


def test_adapters_of_a_tower_merge_into_it(tiny_bert: Path) -> None:
    model = stirred(build(tiny_bert, {"l": LORA}, poster={"route": "fusion"}))
    inputs = batch(model, TEXTS, POSTERS, SOUNDS)
    before = logits(model, inputs)
    merge(model)
    assert not any(".adapters." in name for name, _ in model.named_parameters())
    torch.testing.assert_close(logits(model, inputs), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_a_tower_keeps_its_precision(tiny_bert: Path, precision: str) -> None:
    model = stirred(build(tiny_bert, {"g": GMU, "d": DEEP, "t": IN_TOWER}, tower={"precision": precision}))
    own = {p.dtype for n, p in model.towers["poster"].named_parameters() if ".adapters." not in n}
    assert own == {getattr(torch, precision)}
    assert logits(model, batch(model, TEXTS, POSTERS, SOUNDS)).dtype == torch.float32


def test_frozen_towers_have_no_dropout_unless_the_recipe_says_so(tiny_bert: Path) -> None:
    for dropout, off in (("off", True), ("keep", False)):
        sound = {"tower": SOUND | {"dropout": dropout}}
        tower = build(tiny_bert, {"g": GMU}, sound=sound).train().towers["sound"]
        assert any(m.p > 0 for m in tower.modules() if isinstance(m, nn.Dropout)) != off
        assert any(m.training for m in tower.modules()) != off


def test_batch_statistics_of_a_tower_stay(tiny_bert: Path) -> None:
    model = build(tiny_bert, {"g": GMU}, tower={"model": "timm/resnet10t", "config": {}}).train()
    before = fingerprint(model.towers["poster"])
    model(batch(model, TEXTS, POSTERS, SOUNDS))
    assert fingerprint(model.towers["poster"]) == before


def test_a_timm_tower_with_adapters(tiny_bert: Path) -> None:
    model = stirred(build(tiny_bert, {"d": DEEP, "l": LORA}, poster={"tower": TIMM_VIT}))
    one, other = (logits(model, batch(model, TEXTS[:1], [poster], [2])) for poster in (1, 2))
    assert not torch.allclose(one, other)


def test_tasks_with_adapters_of_their_own_in_a_tower(tiny_bert: Path) -> None:
    adapter = {"kind": "bottleneck", "at": ["poster.mlp.out"], "bottleneck": 2, "per_task": "multiple"}
    tasks = {"amount": {"kind": "regression"}}
    model = stirred(build(tiny_bert, {"g": GMU, "t": adapter}, tasks=tasks))
    inputs = batch(model, TEXTS, POSTERS, SOUNDS)
    with torch.no_grad():
        before = model(inputs)
        for name, parameter in model.named_parameters():
            if ".amount." in name and ".adapters." in name:
                parameter.add_(1)
        after = model(inputs)
    assert torch.equal(before["answer"], after["answer"])
    assert not torch.allclose(before["amount"], after["amount"])


def test_blocks_are_read_at_the_same_depth(tiny_bert: Path) -> None:
    plan = plan_of(tiny_bert, {"d": DEEP})  # two layers of the backbone, four of the tower
    read = [graft.towers["poster@block.out"] for graft in plan.grafts]
    assert [(block.model, block.layer) for block in read] == [("poster", 1), ("poster", 3)]
    assert [graft.sides["poster@block.out"].tokens for graft in plan.grafts] == [5, 5]  # 4 patches and [CLS]


MISTAKES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "two models in one table": ({"g": GMU | {"at": ["mlp.out", "poster.mlp.out"]}}, {}, "Write one table for each"),
    "a tower that is none": ({"g": GMU, "l": LORA | {"at": ["postr.attn.q"]}}, {}, 'Did you mean "poster.attn.q"?'),
    "a site a tower has not": ({"g": GMU, "l": LORA | {"at": ["poster.attn.qq"]}}, {}, 'Did you mean "poster.attn.q"'),
    "a layer a tower has not": ({"g": GMU, "l": LORA | {"layers": [9]}}, {}, "goes past the last layer of vit"),
    "its own output": ({"g": GMU, "t": ACROSS | {"sides": ["poster"]}}, {}, "wait for each other"),
    "a circle": (
        {"g": GMU, "t": ACROSS, "u": ACROSS | {"at": ["sound.mlp.out"], "sides": ["poster@block.out"]}},
        {},
        "wait for each other",
    ),
    "its own blocks": ({"g": GMU, "t": ACROSS | {"sides": ["poster@block.out"]}}, {}, "is no other tower of vit"),
    "a place without output": ({"d": DEEP | {"sides": ["poster@block.on"]}}, {}, 'Write "poster@block.out"'),
    "a count": ({"g": GMU, "l": LORA | {"expect": 3}}, {}, "Write expect = 4"),
    "a selection": ({"g": GMU}, {"tower": {"train": ["nrm"]}}, "modality.poster.tower.train"),
    "too long a prompt": (
        {"g": GMU, "p": {"kind": "prompt", "length": 4, "at": ["sound.embed.in"]}},
        {},
        "Write max_tokens <= 4",
    ),
    "a mean that moves": ({"g": GMU, "l": LORA}, {"poster": {"missing": "mean"}}, 'Write missing = "learned"'),
}


@pytest.mark.parametrize("case", MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_told_by_the_plan(tiny_bert: Path, case: tuple[dict[str, Any], dict[str, Any], str]) -> None:
    adapters, more, told = case
    with pytest.raises((SiteError, RecipeError)) as caught:
        plan_of(tiny_bert, adapters, **more)
    assert told in str(caught.value)


def test_a_modality_called_like_a_part_of_the_backbone_cannot_have_a_tower(tiny_bert: Path) -> None:
    document = tables(tiny_bert, {"g": GMU | {"sides": ["mlp"]}})
    document["modality"]["mlp"] = document["modality"].pop("poster")
    with pytest.raises(RecipeError, match="sites of the backbone begin with 'mlp' too"):
        make_plan(parse_recipe(document))


@pytest.mark.parametrize(
    ("tower", "error", "told"),
    [
        ({"model": "someone/nothing", "config": None}, UnavailableError, "no configuration of someone/nothing"),
        ({"model": "timm/resnet18", "config": None}, UnavailableError, "no weights of timm/resnet18"),
        ({"model": "bert", "config": {}}, RecipeError, "bert reads text, and cannot be a tower of image"),
        ({"config": {"hidden_sise": 8}}, RecipeError, 'Did you mean "hidden_size"?'),
        ({"model": "vti", "config": {}}, RecipeError, 'Did you mean "vit"?'),
    ],
)
def test_models_that_cannot_be_towers(
    tiny_bert: Path, tower: dict, error: type[Exception], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(error) as caught:
        build(tiny_bert, {"g": GMU}, tower=tower)
    assert told in str(caught.value)


def test_a_timm_tower_cannot_hand_sides_to_the_recomputation(tiny_bert: Path) -> None:
    model = build(tiny_bert, {"g": GMU, "t": IN_TOWER}, poster={"tower": TIMM_VIT})
    with pytest.raises(SiteError, match="timm's gradient checkpointing cannot hand side inputs"):
        model.enable_gradient_checkpointing()


def test_blocks_of_a_tower_cannot_be_put_away_without_it(tiny_bert: Path) -> None:
    model = build(tiny_bert, {"d": DEEP})
    with pytest.raises(SiteError, match=r"towers=model\.models"):
        remove(model.backbone, model.receipt)
    assert any(".adapters." in name for name, _ in model.backbone.named_parameters())


def test_plan_and_inspect_show_towers(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    path = tmp_path / "towers.toml"
    path.write_text(resolved_toml(parse_recipe(tables(tiny_bert, {"g": GMU, "l": LORA}, tower={"train": ["norm"]}))))
    assert main(["plan", str(path)]) == 0
    shown = capsys.readouterr().out
    for line in ("tower of poster: vit", "tower of sound: bert", "l: lora at poster.attn.q", "the tower of poster ("):
        assert line in shown
    assert main(["inspect", str(path), "--json"]) == 0
    towers = json.loads(capsys.readouterr().out)["towers"]
    assert towers.keys() == {"poster", "sound"}
    assert "poster.attn.q" in {site["site"] for site in towers["poster"]["sites"]}
