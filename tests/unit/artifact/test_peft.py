"""Checkpoints of PEFT, read and written: the files that PEFT itself wrote come back tensor for tensor."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adaptkit.anatomy import current_path
from adaptkit.artifact import convert_peft, export_peft, load_artifact, merge_run, save_artifact
from adaptkit.artifact.from_peft import RECORDS
from adaptkit.artifact.to_peft import CONFIG, TENSORS
from adaptkit.errors import AdaptkitError, ArtifactError, RecipeError, UsageError
from adaptkit.model import build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe

GOLDENS = Path(__file__).parents[2] / "goldens" / "peft"
SAMPLES = {
    "bart_lora": {"lora": 12},
    "bert_dora": {"dora": 4},
    "bert_ia3": {"ia3": 4, "ia3_2": 4},
    "bert_lora": {"lora": 4},
    "bert_lora_pattern": {"lora": 1, "lora_2": 2, "lora_3": 1},
    "llama_lora": {"lora": 4},
    "vit_lora_modules_to_save": {"lora": 4},
}


@pytest.fixture
def backbone(tiny_bert: Path, tmp_path: Path) -> Callable[[str], Path]:
    """The golden backbone of a family, with some tokenizer."""

    def of(family: str) -> Path:
        folder = Path(shutil.copytree(GOLDENS / f"{family}_backbone", tmp_path / family))
        for file in tiny_bert.glob("tokenizer*"):
            shutil.copy(file, folder)
        return folder

    return of


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_checkpoint_of_peft_comes_back_as_it_was(
    backbone: Callable[[str], Path], tmp_path: Path, sample: str
) -> None:
    family = sample.partition("_")[0]
    found = convert_peft(GOLDENS / sample, tmp_path / "ours", backbone=str(backbone(family)))
    assert {name: count for name, (_, count) in found.adapters.items()} == SAMPLES[sample]
    export_peft(tmp_path / "ours", tmp_path / "theirs", check=False)
    before, after = (load_file(place / TENSORS) for place in (GOLDENS / sample, tmp_path / "theirs"))
    left = {name for name in before if name.removeprefix("base_model.model.") in found.left}
    assert all("classifier" in name for name in left)
    assert len(after) == len(before) - len(left) > 0
    # The head gave the backbone a name of its own, which a checkpoint of the plain model has not.
    known = {name.removeprefix("base_model.model."): value for name, value in after.items()}
    for name in before.keys() - left:
        path = current_path(family, name.removeprefix("base_model.model.")).partition(".")[2]
        assert torch.equal(known[path], before[name]), name
    old, new = (json.loads((place / CONFIG).read_text()) for place in (GOLDENS / sample, tmp_path / "theirs"))
    for key in ("peft_type", "r", "lora_alpha"):
        assert new.get(key) == old.get(key), key
    assert bool(new.get("use_dora")) == bool(old.get("use_dora"))
    if sample == "bert_ia3":
        assert len(new["feedforward_modules"]) == 4


def test_patterns_are_read(backbone: Callable[[str], Path], tmp_path: Path) -> None:
    """r = 4 and alpha = 8; a rank of 2 for one query, an alpha of 16 for all values."""
    convert_peft(GOLDENS / "bert_lora_pattern", tmp_path / "ours", backbone=str(backbone("bert")))
    tables: Any = load_artifact(tmp_path / "ours").plan.recipe.adapter
    told = {(tuple(table.at), str(table.layers), table.rank, table.alpha) for table in tables.values()}
    assert told == {
        (("attn.q",), "[0]", 2, 8.0),
        (("attn.q",), "[1]", 4, 8.0),
        (("attn.v",), "all", 4, 16.0),
    }


def test_what_was_converted_can_be_merged_and_begun_from(
    backbone: Callable[[str], Path], tmp_path: Path, tiny_bert: Path
) -> None:
    folder = backbone("bert")
    convert_peft(GOLDENS / "bert_lora", tmp_path / "ours", backbone=str(folder))
    found = merge_run(tmp_path / "ours", tmp_path / "merged")
    assert (found.changed, found.difference is not None) == (4, True)
    document = {
        "schema": 1,
        "name": "goes_on",
        "init_from": str(tmp_path / "ours"),
        "backbone": {"model": str(folder)},
        "modality": {"input": {"kind": "text", "route": "backbone"}},
        "adapter": {"lora": {"kind": "lora", "at": ["attn.q", "attn.v"], "rank": 4, "alpha": 8.0}},
        "data": {"format": "jsonl"},
        "task": {"y": {"kind": "classification", "labels": ["a", "b"]}},
    }
    with pytest.raises(RecipeError, match="at least one task"):
        parse_recipe(document | {"task": {}})
    make_plan(parse_recipe(document))
    with pytest.raises(UsageError, match="has no task"):
        load_artifact(tmp_path / "ours").predict([{"input": "a"}])


DAMAGES: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], None], str]] = {
    "another depth": (
        lambda _, tensors: tensors.update({_key(tensors).replace("layer.0", "layer.9"): torch.zeros(4, 32)}),
        r"1 tensors belong nowhere in BertModel: .*layer\.9",
    ),
    "a head that nobody names": (
        lambda config, _: config.update(modules_to_save=None),
        r"2 tensors belong nowhere in BertModel: .*classifier",
    ),
    "an option": (lambda config, _: config.update(layer_replication=[[0, 1]]), r"layer_replication = .* is not"),
    "a start that moves the backbone": (
        lambda config, _: config.update(init_lora_weights="pissa"),
        "init_lora_weights = 'pissa' is not understood",
    ),
    "a bias": (
        lambda _, tensors: tensors.update({_key(tensors).replace("A.weight", "B.bias"): torch.zeros(32)}),
        "no adapter of adaptkit is a LORA with the tensors .*lora_B.bias",
    ),
    "a lost tensor": (lambda _, tensors: tensors.pop(_key(tensors)), "has other tensors than such an adapter: A"),
    "a shape": (lambda _, tensors: tensors.update({_key(tensors): torch.zeros(4, 31)}), r"has the shape \(4, 31\)"),
    "a method": (lambda config, _: config.update(peft_type="ADALORA"), "no adapter of adaptkit is a ADALORA"),
    "no backbone": (lambda config, _: config.update(base_model_name_or_path=None), "names no backbone"),
}


VALUES: tuple[Any, ...] = (3, -1, 0.5, "(x", [1], [["a"]], {"a": 1}, {"(": 1}, {"layer": [2]}, True, None)
KEYS = ("peft_type", "base_model_name_or_path", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "bias")
KEYS += ("rank_pattern", "alpha_pattern", "modules_to_save", "target_modules", "target_parameters", "init_lora_weights")


@pytest.mark.parametrize("key", [*KEYS, "something_new"])
def test_a_configuration_with_values_of_any_type_ends_well(
    backbone: Callable[[str], Path], tmp_path: Path, key: str
) -> None:
    """It is read, or refused with one error of ours."""
    source = Path(shutil.copytree(GOLDENS / "bert_lora_pattern", tmp_path / "source"))
    config = json.loads((source / CONFIG).read_text()) | {"base_model_name_or_path": str(backbone("bert"))}
    refused = 0
    for value in VALUES:
        (source / CONFIG).write_text(json.dumps(config | {key: value}))
        try:
            convert_peft(source, tmp_path / "ours", force=True)
        except AdaptkitError:
            refused += 1
    assert refused or key in RECORDS | {"r"}  # of which the tensors tell


def _key(tensors: dict[str, Any]) -> str:
    return next(name for name in sorted(tensors) if "lora_A" in name)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_understood_is_an_error_with_its_name(
    backbone: Callable[[str], Path], tmp_path: Path, damage: str
) -> None:
    change, message = DAMAGES[damage]
    source = Path(shutil.copytree(GOLDENS / "bert_lora", tmp_path / "source"))
    config, tensors = json.loads((source / CONFIG).read_text()), load_file(source / TENSORS)
    config["base_model_name_or_path"] = str(backbone("bert"))
    change(config, tensors)
    (source / CONFIG).write_text(json.dumps(config))
    save_file(tensors, source / TENSORS)
    with pytest.raises(ArtifactError, match=message):
        convert_peft(source, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_a_bin_is_read_as_numbers_and_never_run(backbone: Callable[[str], Path], tmp_path: Path) -> None:
    source = Path(shutil.copytree(GOLDENS / "bert_lora", tmp_path / "source"))
    tensors = load_file(source / TENSORS)
    (source / TENSORS).unlink()
    folder = str(backbone("bert"))
    torch.save(tensors, source / "adapter_model.bin")
    convert_peft(source, tmp_path / "ours", backbone=folder)
    torch.save({"x": Path.cwd}, source / "adapter_model.bin")
    with pytest.raises(ArtifactError, match="is not a file of tensors"):
        convert_peft(source, tmp_path / "other", backbone=folder)


def test_prompts_and_prefixes_say_that_they_cannot_be_read(backbone: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="PEFT's PREFIX_TUNING, which cannot be read yet"):
        convert_peft(GOLDENS / "bert_prefix", tmp_path / "ours", backbone=str(backbone("bert")))


@pytest.mark.parametrize(
    ("adapters", "message"),
    [
        ({"a": {"kind": "bottleneck", "at": "mlp.out"}}, r"PEFT has no method for a \(Bottleneck\)"),
        ({"a": {"kind": "ia3", "at": "path:embeddings.word_embeddings"}}, r"PEFT has no method for a \(IA3\)"),
        (
            {"a": {"kind": "lora", "at": "attn.q"}, "b": {"kind": "ia3", "at": "attn.k"}},
            "one method in a checkpoint, and here are IA3 and LORA",
        ),
        (
            {"a": {"kind": "lora", "at": "attn.q"}, "b": {"kind": "dora", "at": "attn.k"}},
            r"PEFT has one use_dora, and here it is \[False, True\]",
        ),
        (
            {"a": {"kind": "lora", "at": "attn.q"}, "b": {"kind": "lora", "at": "poster.attn.q"}},
            "PEFT's folders are of one model, and the adapters b would be left out",
        ),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_refused(
    tiny_bert: Path, tmp_path: Path, adapters: dict[str, Any], message: str
) -> None:
    vit = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    document = {
        "schema": 1,
        "name": "mixed",
        "backbone": {"model": str(tiny_bert)},
        "modality": {
            "question": {"kind": "text", "route": "backbone"},
            "poster": {
                "kind": "image",
                "route": "fusion",
                "tower": {"model": "vit", "config": vit | {"image_size": 8, "patch_size": 4}},
            },
        },
        "adapter": adapters,
        "data": {"format": "jsonl"},
        "task": {"y": {"kind": "classification", "labels": ["a", "b"]}},
    }
    artifact = save_artifact(build_model(make_plan(parse_recipe(document))), tmp_path / "artifact")
    with pytest.raises(ArtifactError, match=message):
        export_peft(artifact, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()
