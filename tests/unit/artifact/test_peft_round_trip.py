"""Every method that PEFT has and we have, out and back in: the same options, tensors and outputs."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GPT2Config, GPT2Model, ResNetConfig, ResNetModel

from adaptkit.anatomy import dummy_inputs
from adaptkit.artifact import convert_peft, export_peft, load_artifact, save_artifact
from adaptkit.artifact.to_peft import CONFIG, TENSORS
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe

WORDS = "path:embeddings.word_embeddings"
BERT: dict[str, dict[str, Any]] = {
    "lora": {"kind": "lora", "rank": 2, "alpha": 3.0, "dropout": 0.2},
    "lora_rs": {"kind": "lora", "rank": 4, "alpha": 3.0, "scaling": "rank_stabilized"},
    "lora_embedding": {"kind": "lora", "rank": 2, "at": WORDS},
    "dora": {"kind": "dora", "rank": 2, "dropout": 0.1},
    "ia3": {"kind": "ia3"},
    "ia3_input": {"kind": "ia3", "on": "input", "at": "mlp.down"},
    "loha": {"kind": "loha", "rank": 2, "alpha": 3.0},
    "lokr": {"kind": "lokr", "rank": 2, "alpha": 3.0},
    "lokr_whole": {"kind": "lokr", "rank": 64, "alpha": 3.0},
    "vera": {"kind": "vera", "rank": 4, "dropout": 0.1},
}
RESNET: dict[str, dict[str, Any]] = {
    "lora_convolution": {"kind": "lora", "rank": 2, "alpha": 3.0, "at": ["conv.1", "conv.2"]},
    "dora_convolution": {"kind": "dora", "rank": 2, "alpha": 3.0, "at": ["conv.1"]},
    "loha_convolution": {"kind": "loha", "rank": 2, "alpha": 3.0, "at": ["conv.1"]},
}
PASSED_OVER = [
    "auto_mapping",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "feedforward_modules",
    "inference_mode",
    "init_ia3_weights",
    "init_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_ga_config",
    "megatron_core",
    "module_dropout",
    "peft_version",
    "qalora_group_size",
    "rank_dropout",
    "revision",
    "task_type",
]
GPT2: dict[str, dict[str, Any]] = {  # whose queries, keys and values are slices of one projection
    "lora_slices": {"kind": "lora", "rank": 2, "alpha": 3.0},
    "lora_slice": {"kind": "lora", "rank": 2, "alpha": 3.0, "at": ["attn.k"]},
}
ALL = BERT | RESNET | GPT2
MORE: dict[str, dict[str, Any]] = {}  # name -> adapters, instead of the one
SMALL = {"n_embd": 8, "n_layer": 2, "n_head": 2, "vocab_size": 15, "n_positions": 16}
SETTINGS = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}


def published(tiny_bert: Path, folder: Path, name: str) -> Path:
    """The backbone."""
    if name in GPT2:
        folder /= "gpt2"
        torch.manual_seed(0)
        GPT2Model(GPT2Config(**SMALL)).save_pretrained(folder)
        for file in tiny_bert.glob("tokenizer*"):
            shutil.copy(file, folder)
        return folder
    if name not in RESNET:
        return tiny_bert
    torch.manual_seed(0)
    ResNetModel(ResNetConfig(**SETTINGS)).save_pretrained(folder / "resnet")
    return folder / "resnet"


def written(backbone: Path, folder: Path, name: str) -> AdaptedModel:
    """A model with adapters that change something, and its artifact in `ours`."""
    images = name in RESNET
    document = {
        "schema": 1,
        "name": "one",
        "backbone": {"model": str(backbone)},
        "modality": {"seen": {"kind": "image" if images else "text", "route": "backbone"}},
        "adapter": MORE.get(name, {"a": {"at": ["attn.q", "attn.v"], **ALL[name]}}),
        "data": {"format": "jsonl"},
        "task": {"y": {"kind": "classification", "labels": ["a", "b"]}},
    }
    adapted = build_model(make_plan(parse_recipe(document))).eval()
    chance = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for key, tensor in adapted.trainable_state().items():
            tensor += 0.1 * torch.randn(tensor.shape, generator=chance) * (".adapters." in key)
    save_artifact(adapted, folder / "ours")
    return adapted


def outputs(model: AdaptedModel) -> Tensor:
    with torch.no_grad():
        return model.backbone(**dummy_inputs(model.backbone, device="cpu")).last_hidden_state


@pytest.mark.parametrize("name", ALL)
def test_out_and_back(tiny_bert: Path, tmp_path: Path, name: str) -> None:
    backbone = published(tiny_bert, tmp_path, name)
    model = written(backbone, tmp_path, name)
    export_peft(tmp_path / "ours", tmp_path / "theirs", check=False)
    convert_peft(tmp_path / "theirs", tmp_path / "back")
    again = load_artifact(tmp_path / "back")
    torch.testing.assert_close(outputs(again), outputs(model), rtol=0, atol=0)
    (kept,) = again.plan.recipe.adapter.values()
    table: Any = model.plan.recipe.adapter["a"]
    for key in () if name in ("lora_rs", *GPT2) else ALL[name]:  # alpha says it all; slices become one whole
        assert getattr(kept, key) == getattr(table, key), key
    export_peft(tmp_path / "back", tmp_path / "again", check=False)
    one, other = (load_file(tmp_path / folder / TENSORS) for folder in ("theirs", "again"))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    first, second = (json.loads((tmp_path / folder / CONFIG).read_text()) for folder in ("theirs", "again"))
    assert first == second


SEVERAL: dict[str, list[dict[str, Any]]] = {
    "lora": [{"rank": 2, "alpha": 3.0}, {"rank": 4, "alpha": 5.0}, {"rank": 2, "alpha": 5.0}],
    "dora": [{"rank": 2, "alpha": 3.0}, {"rank": 4, "alpha": 5.0}],
    "loha": [{"rank": 2, "alpha": 3.0}, {"rank": 4, "alpha": 5.0}, {"rank": 2, "alpha": 5.0}],
    "lokr": [{"rank": 2, "alpha": 3.0}, {"rank": 1, "alpha": 5.0}],
}


@pytest.mark.parametrize(("kind", "name"), [*((kind, "lora") for kind in SEVERAL), ("lora", "lora_slices")])
def test_ranks_and_alphas_that_differ_are_patterns_or_one_whole(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    """In BERT each projection is a module of its own; in GPT-2 they are slices of one, which takes all ranks."""
    places = zip(("attn.q", "attn.v", "mlp.up"), SEVERAL[kind], strict=False)
    tables = {f"a{n}": {"kind": kind, "at": at, **keys} for n, (at, keys) in enumerate(places)}
    monkeypatch.setitem(MORE, name, tables)
    model = written(published(tiny_bert, tmp_path, name), tmp_path, name)
    export_peft(tmp_path / "ours", tmp_path / "theirs", check=False)
    convert_peft(tmp_path / "theirs", tmp_path / "back")
    torch.testing.assert_close(outputs(load_artifact(tmp_path / "back")), outputs(model), rtol=0, atol=1e-6)


@pytest.fixture
def checkpoint(tiny_bert: Path, tmp_path: Path) -> Path:
    written(tiny_bert, tmp_path, "lora")
    return export_peft(tmp_path / "ours", tmp_path / "theirs", check=False).folder


def test_what_only_records_is_passed_over(checkpoint: Path, tmp_path: Path) -> None:
    """Where, with which versions, how a training began, and which modules the tensors show anyway."""
    config = json.loads((checkpoint / CONFIG).read_text())
    known = {"rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": ["classifier"], "target_modules": "all-linear"}
    new = dict.fromkeys(PASSED_OVER, 7) | known
    for start in (True, False, "gaussian", "orthogonal", "eva", "lora_ga"):
        (checkpoint / CONFIG).write_text(json.dumps(config | new | {"init_lora_weights": start}))
        convert_peft(checkpoint, tmp_path / "back", force=True)
    for start in ("pissa", "olora", "loftq", "corda", 3):
        (checkpoint / CONFIG).write_text(json.dumps(config | {"init_lora_weights": start}))
        with pytest.raises(ArtifactError, match="is not understood"):
            convert_peft(checkpoint, tmp_path / "back", force=True)


def test_keys_that_only_begin_a_vera_are_passed_over_and_the_name_is_one(tiny_bert: Path, tmp_path: Path) -> None:
    written(tiny_bert, tmp_path, "vera")
    folder = export_peft(tmp_path / "ours", tmp_path / "_my adapter (1)", check=False).folder
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | {"d_initial": 0.1, "projection_prng_key": 7}))
    convert_peft(folder, tmp_path / "back")
    assert load_artifact(tmp_path / "back").plan.recipe.name == "my_adapter__1_"


@pytest.mark.parametrize("ending", ["", ".weight"])
def test_magnitudes_have_had_two_names(tiny_bert: Path, tmp_path: Path, ending: str) -> None:
    model = written(tiny_bert, tmp_path, "dora")
    export_peft(tmp_path / "ours", tmp_path / "theirs", check=False)
    tensors = load_file(tmp_path / "theirs" / TENSORS)
    renamed = {key.replace("magnitude_vector", f"magnitude_vector{ending}"): value for key, value in tensors.items()}
    save_file(renamed, tmp_path / "theirs" / TENSORS)
    convert_peft(tmp_path / "theirs", tmp_path / "back")
    torch.testing.assert_close(outputs(load_artifact(tmp_path / "back")), outputs(model), rtol=0, atol=0)


@pytest.mark.parametrize("family", ["lora", "lora_convolution"])
def test_an_export_is_compared_where_peft_is_there(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """As PEFT would: from the plain model and the folder, by default. What differs is not written."""
    model = written(published(tiny_bert, tmp_path, family), tmp_path, family)
    changes = 0.0
    seen: list[Any] = []

    class Theirs:
        """Stands for PEFT's model."""

        def __init__(self, plain: Any, folder: Path) -> None:
            self.plain, self.names = plain, sorted(path.name for path in folder.iterdir())
            seen.append(self)

        def eval(self) -> Theirs:
            return self

        def __call__(self, **inputs: Tensor) -> Any:
            assert inputs.keys() != {"input_ids"} or len(set(inputs["input_ids"].flatten().tolist())) > 1
            own = model.backbone(**inputs).last_hidden_state
            return SimpleNamespace(last_hidden_state=own + changes)

    peft = SimpleNamespace(PeftModel=SimpleNamespace(from_pretrained=Theirs), __spec__=object())
    monkeypatch.setitem(sys.modules, "peft", peft)  # type: ignore[arg-type]
    assert export_peft(tmp_path / "ours", tmp_path / "one", check=False).difference is None
    assert not seen
    assert export_peft(tmp_path / "ours", tmp_path / "two").difference == 0.0
    assert seen[0].names == sorted([CONFIG, TENSORS])
    assert type(seen[0].plain).__name__ == type(model.backbone).__name__
    changes = 1.0
    with pytest.raises(ArtifactError, match="in PEFT the outputs differ by up to 1"):
        export_peft(tmp_path / "ours", tmp_path / "three")
    assert not (tmp_path / "three").exists()
