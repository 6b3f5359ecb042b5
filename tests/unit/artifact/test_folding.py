"""What leaves a run with its models: folded into them, or beside them; and what was folded comes out again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from adaptkit.anatomy import fingerprint, load, resolve, skeleton
from adaptkit.artifact import export_adapter, load_artifact, save_artifact
from adaptkit.artifact.folding import RECEIPT, merge_run, unmerge
from adaptkit.artifact.save import fingerprints
from adaptkit.errors import ArtifactError, RecipeError, UnavailableError, UsageError
from adaptkit.model import AdaptedModel, build_model
from adaptkit.model.probe import outputs
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe
from tests.fuzz.artifacts import describe
from tests.unit.generation.speaking import speaking

TIMM = {
    "model": "timm/vit_tiny_patch16_224",
    "config": {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 2, "num_heads": 2},
}
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 2},
    "dora": {"rank": 2},
    "ia3": {},
    "vera": {"rank": 2},
    "loha": {"rank": 2},
    "lokr": {"rank": 1},
}
GMU = {"kind": "gmu", "at": "mlp.out", "sides": ["poster"], "bottleneck": 4}


def tables(folder: Path, adapter: Mapping[str, Any], **backbone: Any) -> dict[str, Any]:
    """A text backbone with one adapter, an image with a tower of timm, and numbers that join both."""
    return {
        "schema": 1,
        "name": "carried",
        "backbone": {"model": str(folder), **backbone},
        "modality": {
            "question": {"kind": "text", "route": "backbone"},
            "poster": {"kind": "image", "route": "side" if adapter["kind"] == "gmu" else "fusion", "tower": TIMM},
            "numbers": {"kind": "features", "width": 4, "route": "fusion"},
        },
        "adapter": {"change": dict(adapter)},
        "data": {"format": "jsonl"},
        "task": {"answer": {"kind": "classification", "labels": ["no", "yes"]}},
    }


def saved(folder: Path, document: dict[str, Any], base: Path) -> Path:
    """The artifact of an adapted model whose trained tensors are not what they began as."""
    model = build_model(make_plan(parse_recipe(document, base=base)))
    before = fingerprints(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in model.trainable_state().values():
            if tensor.is_floating_point():
                tensor.add_(0.3 * torch.randn_like(tensor))
    told = {"metrics": {"test": {"accuracy": 0.5}}, "seed": 3}
    towers = {name: found for name, found in before.items() if name}
    return save_artifact(model, folder, base_fingerprint=before[""], tower_fingerprints=towers, **told)


@pytest.fixture
def backbone(tiny_bert: Path, tmp_path: Path) -> Path:
    """A copy that a test may take away."""
    return Path(shutil.copytree(tiny_bert, tmp_path / "tiny-bert"))


def of(model: AdaptedModel) -> torch.Tensor:
    return outputs(model)["answer"]


@pytest.mark.parametrize("kind", METHODS)
def test_transformers_loads_what_was_merged_and_unmerging_gives_the_published_bits(
    backbone: Path, tmp_path: Path, kind: str
) -> None:
    document = tables(backbone, {"kind": kind, "at": ["attn.q", "mlp.up"], **METHODS[kind]}, train=["norm"])
    artifact = saved(tmp_path / "artifact", document, tmp_path)
    published, wanted = fingerprint(load(resolve(str(backbone)))), of(load_artifact(artifact))
    found = merge_run(artifact, tmp_path / "merged")
    assert found.changed > 4
    assert found.difference is not None
    assert found.difference < 1e-5

    plain = AutoModel.from_pretrained(tmp_path / "merged").eval()
    merged = load_artifact(tmp_path / "merged")
    assert not merged.plan.grafts
    assert fingerprint(plain) == fingerprint(merged.backbone) != published
    assert len(AutoTokenizer.from_pretrained(tmp_path / "merged")("is it big ?")["input_ids"]) == 6
    shutil.rmtree(backbone)
    assert torch.allclose(of(load_artifact(tmp_path / "merged")), wanted, atol=1e-5)

    assert unmerge(tmp_path / "merged", tmp_path / "back") == found.changed
    again = resolve(str(tmp_path / "back"))
    assert fingerprint(load(again)) == published
    assert (tmp_path / "back" / "tokenizer.json").is_file()


def test_a_tower_is_merged_and_unmerged_too(backbone: Path, tmp_path: Path) -> None:
    document = tables(backbone, {"kind": "lora", "rank": 2, "at": ["poster.attn.q", "poster.mlp.up"]})
    document["adapter"]["words"] = {"kind": "lora", "rank": 2, "at": "attn.v"}
    artifact = saved(tmp_path / "artifact", document, tmp_path)
    merge_run(artifact, tmp_path / "merged")
    tower = tmp_path / "merged" / "towers" / "poster"
    plain = timm.create_model(f"local-dir:{tower}", pretrained=True, num_classes=0)
    merged = load_artifact(tmp_path / "merged")
    assert fingerprint(plain) == fingerprint(merged.towers["poster"])
    unmerge(tower, tmp_path / "back")
    assert fingerprint(load(resolve(str(tmp_path / "back")))) == fingerprint(load(resolve(**_named(TIMM))))


def test_half_precision_is_rounded_once_and_unmerged_to_the_bit(backbone: Path, tmp_path: Path) -> None:
    document = tables(backbone, {"kind": "lora", "rank": 2, "at": "attn.q"}, precision="bfloat16")
    artifact = saved(tmp_path / "artifact", document, tmp_path)
    merge_run(artifact, tmp_path / "merged")
    assert load_file(tmp_path / "merged" / "model.safetensors")["embeddings.LayerNorm.weight"].dtype == torch.bfloat16
    unmerge(tmp_path / "merged", tmp_path / "back")
    wanted = fingerprint(load(resolve(str(backbone)), precision="bfloat16"))
    assert fingerprint(load(resolve(str(tmp_path / "back")))) == wanted


def test_what_cannot_fold_is_refused_before_anything_is_written(backbone: Path, tmp_path: Path) -> None:
    document = tables(backbone, GMU)
    document["adapter"]["low"] = {"kind": "lora", "rank": 2, "at": "attn.q"}
    artifact = saved(tmp_path / "artifact", document, tmp_path)
    with pytest.raises(ArtifactError, match=r"cannot be merged into weights: change \(GMU\).*low \(LoRA\) could"):
        merge_run(artifact, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_outputs_that_differ_are_an_error_and_nothing_is_written(backbone: Path, tmp_path: Path) -> None:
    artifact = saved(
        tmp_path / "artifact", tables(backbone, {"kind": "lora", "rank": 2, "at": ["attn.v", "mlp.up"]}), tmp_path
    )
    with pytest.raises(ArtifactError, match=r"the outputs differ by up to .* Nothing is written"):
        merge_run(artifact, tmp_path / "merged", tolerance=0.0)
    assert not (tmp_path / "merged").exists()
    merge_run(artifact, tmp_path / "merged", tolerance=0.0, check=False)


def test_every_file_of_a_tokenizer_comes_along(backbone: Path, tmp_path: Path) -> None:
    artifact = saved(tmp_path / "artifact", tables(backbone, {"kind": "lora", "rank": 2, "at": "attn.q"}), tmp_path)
    merge_run(artifact, tmp_path / "merged")
    names = ["vocab.txt", "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json", "spiece.model"]
    names += ["sentencepiece.bpe.model", "chat_template.jinja", "tokenizer.model"]
    for name in names:
        (tmp_path / "merged" / name).write_text(name)
    (tmp_path / "merged" / "thesis.txt").write_text("mine")
    unmerge(tmp_path / "merged", tmp_path / "back")
    assert all((tmp_path / "back" / name).read_text() == name for name in names)
    assert not (tmp_path / "back" / "thesis.txt").exists()


def test_a_changed_model_or_receipt_is_not_unmerged(backbone: Path, tmp_path: Path) -> None:
    artifact = saved(tmp_path / "artifact", tables(backbone, {"kind": "lora", "rank": 2, "at": "attn.q"}), tmp_path)
    merge_run(artifact, tmp_path / "merged")
    with pytest.raises(ArtifactError, match=r"has no unmerge\.safetensors"):
        unmerge(backbone, tmp_path / "back")
    with pytest.raises(UsageError, match="the source itself"):
        unmerge(tmp_path / "merged", tmp_path / "merged", force=True)
    (tmp_path / "thesis").mkdir()
    with pytest.raises(UsageError, match=r"has no config\.json, so --force does not replace it"):
        unmerge(tmp_path / "merged", tmp_path / "thesis", force=True)
    for file, message in ((RECEIPT, "does not lead back"), ("model.safetensors", "is not the one that was merged")):
        place = Path(shutil.copytree(tmp_path / "merged", tmp_path / f"with-other-{file}")) / file
        tensors = load_file(place)
        next(iter(tensors.values())).flatten()[0] += 1
        save_file(tensors, place, metadata=_told(place))
        with pytest.raises(ArtifactError, match=message):
            unmerge(place.parent, tmp_path / "back")
    tensors, told = load_file(tmp_path / "merged" / RECEIPT), _told(tmp_path / "merged" / RECEIPT)
    name = next(iter(tensors))
    damages: list[tuple[dict[str, torch.Tensor], dict[str, str], str]] = [
        ({**tensors, "elsewhere": torch.zeros(2)}, {}, "does not fit the model: elsewhere is unexpected"),
        ({**tensors, name: torch.zeros(3)}, {}, "does not fit the model: .* is float32 \\(3,\\), not"),
        ({**tensors, name: tensors[name].half()}, {}, "does not fit the model: .* is float16"),
        (tensors, {"precision": "load_state_dict"}, "precision = 'load_state_dict' is no number format"),
    ]
    for lacking in told:
        save_file(tensors, tmp_path / "merged" / RECEIPT, metadata={key: told[key] for key in told if key != lacking})
        with pytest.raises(ArtifactError, match=f"does not say {lacking}"):
            unmerge(tmp_path / "merged", tmp_path / "back")
    for changed, words, message in damages:
        save_file(changed, tmp_path / "merged" / RECEIPT, metadata=told | words)
        with pytest.raises(ArtifactError, match=message):
            unmerge(tmp_path / "merged", tmp_path / "back")
    (tmp_path / "merged" / RECEIPT).write_bytes(b"no tensors")
    with pytest.raises(ArtifactError, match="cannot be read"):
        unmerge(tmp_path / "merged", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def _told(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


@pytest.mark.parametrize("family", ["gpt2", "bart"])
def test_a_model_that_speaks_is_merged_with_its_head(tiny_bert: Path, tmp_path: Path, family: str) -> None:
    low = {"low": {"kind": "lora", "rank": 2, "at": ["attn.v", "mlp.up"]}}
    recipe = speaking(family, tiny_bert, route="tokens", adapter=low, backbone={"train": [], "added_tokens": 4})
    model = build_model(make_plan(recipe)).eval()
    with torch.no_grad():
        for name, tensor in model.trainable_state().items():
            tensor.add_(0.05 * torch.ones_like(tensor) if ".adapters." in name else 0.0)
    artifact = save_artifact(model, tmp_path / "artifact")
    asked = [{"question": "is it big ?", "features": [1.0, 0.0, 0.0, 1.0]}]
    wanted = model.generate(asked)
    found = merge_run(artifact, tmp_path / "merged")
    assert found.difference is not None
    library = AutoModelForCausalLM if family == "gpt2" else AutoModelForSeq2SeqLM
    plain = library.from_pretrained(tmp_path / "merged")
    merged = load_artifact(tmp_path / "merged")
    assert fingerprint(plain) == fingerprint(merged.backbone)
    assert merged.generate(asked) == wanted
    export_adapter(artifact, tmp_path / "full", full=True)
    assert load_artifact(tmp_path / "full").generate(asked) == wanted
    unmerge(tmp_path / "merged", tmp_path / "back")
    assert fingerprint(library.from_pretrained(tmp_path / "back")) == fingerprint(
        build_model(make_plan(recipe)).backbone
    )


@pytest.mark.parametrize("adapter", [GMU, {"kind": "lora", "rank": 2, "at": "attn.q"}], ids=["gmu", "lora"])
def test_a_full_export_needs_nothing_else_and_is_equal_to_the_bit(
    backbone: Path, tmp_path: Path, adapter: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = saved(tmp_path / "artifact", tables(backbone, adapter, train=["norm"]), tmp_path)
    wanted = of(load_artifact(artifact))
    export_adapter(artifact, tmp_path / "full", full=True)
    moved = (tmp_path / "full").rename(tmp_path / "elsewhere")
    shutil.rmtree(backbone)
    shutil.rmtree(artifact)
    monkeypatch.chdir(moved.parent)
    assert torch.equal(of(load_artifact("elsewhere")), wanted)
    assert "lies in `./backbone`" in (moved / "README.md").read_text()
    # And again from there: a full export can be exported, merged and taken apart.
    export_adapter(moved, tmp_path / "again", full=True)
    assert torch.equal(of(load_artifact(tmp_path / "again")), wanted)
    shutil.rmtree(moved / "backbone")
    with pytest.raises((ArtifactError, RecipeError)):
        load_artifact(moved)


def test_a_model_outside_of_the_folder_is_not_carried(backbone: Path, tmp_path: Path) -> None:
    artifact = saved(tmp_path / "artifact", tables(backbone, GMU), tmp_path)
    export_adapter(artifact, tmp_path / "full", full=True)
    describe(tmp_path / "full", lambda content: content["base"].update(id="./../tiny-bert"))
    with pytest.raises(ArtifactError, match="which is not in it"):
        load_artifact(tmp_path / "full")


def test_a_folder_of_timm(tmp_path: Path) -> None:
    model = load(resolve(**_named(TIMM)))
    timm.models.save_for_hf(model, str(tmp_path), model_args=TIMM["config"], safe_serialization=True)
    ref = resolve(str(tmp_path))
    assert ref.library == "timm"
    assert fingerprint(load(ref)) == fingerprint(model)
    assert [*skeleton(ref).state_dict()] == [*model.state_dict()]
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UnavailableError, match=r"has no weights \(model\.safetensors\)"):
        load(ref)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architecture": "no_such_net"}))
    with pytest.raises(RecipeError, match="is not a folder of a timm model"):
        skeleton(ref)


def _named(table: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": table["model"], "config": table["config"]}
