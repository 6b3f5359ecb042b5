"""Every method that both have, in every family of models: PEFT loads what we write, and we read what PEFT saves.

`make interop` runs this in an environment with PEFT; `make test` has PEFT's own files as goldens instead.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file

from adaptkit.anatomy import dummy_inputs, load, resolve, save, tokenizer
from adaptkit.artifact import convert_peft, export_peft, load_artifact, save_artifact
from adaptkit.artifact.save import fingerprints
from adaptkit.artifact.to_peft import TENSORS
from adaptkit.errors import ArtifactError
from adaptkit.model import build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe

BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
DECODER = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
WORDS = {"vocab_size": 30522}
MODELS: dict[str, dict[str, Any]] = {
    "bert": BERT | WORDS,
    "roberta": BERT | WORDS,
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, **WORDS},
    "llama": BERT | WORDS | {"num_key_value_heads": 1},
    "bart": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, **DECODER, **WORDS},
    "t5": {"d_model": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8, "d_ff": 32, **WORDS},
    "vit": BERT | {"image_size": 16, "patch_size": 8},
}
QV = ["attn.q", "attn.v"]
ADAPTERS: dict[str, dict[str, Any]] = {
    "lora": {
        "a": {"kind": "lora", "rank": 2, "at": QV},
        "b": {"kind": "lora", "rank": 3, "alpha": 5.0, "at": "mlp.up"},
    },
    "rslora": {"a": {"kind": "lora", "rank": 4, "scaling": "rank_stabilized", "alpha": 3.0, "at": QV}},
    "dora": {"a": {"kind": "dora", "rank": 2, "at": "mlp.up"}},
    "ia3": {"a": {"kind": "ia3", "at": "mlp.up"}, "b": {"kind": "ia3", "on": "input", "at": "mlp.down"}},
    "loha": {"a": {"kind": "loha", "rank": 2, "at": "mlp.up"}},
    "lokr": {"a": {"kind": "lokr", "rank": 1, "at": "mlp.up"}},
    "vera": {"a": {"kind": "vera", "rank": 4, "at": "mlp.up"}},
}


@pytest.fixture(params=MODELS, scope="module")
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    ref = resolve(request.param, config=MODELS[request.param])
    folder = tmp_path_factory.mktemp(request.param)
    save(load(ref), ref, folder)
    if request.param != "vit":
        tokenizer(resolve("minilm")).save_pretrained(folder)
    return folder


def artifact_of(backbone: Path, adapters: dict[str, Any], folder: Path) -> Path:
    """An artifact whose tensors are not what they began as."""
    image = backbone.name.startswith("vit")
    document = {
        "schema": 1,
        "name": "interop",
        "backbone": {"model": str(backbone), "train": ["norm"]},
        "modality": {"x": {"kind": "image" if image else "text", "route": "backbone"}},
        "adapter": adapters,
        "data": {"format": "jsonl"},
        "task": {"y": {"kind": "classification", "labels": ["a", "b"]}},
    }
    model = build_model(make_plan(parse_recipe(document)))
    original = fingerprints(model)[""]
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in model.trainable_state().values():
            if tensor.is_floating_point():
                tensor.add_(0.3 * torch.randn_like(tensor))
    return save_artifact(model, folder, base_fingerprint=original)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("method", ADAPTERS)
def test_peft_gives_our_outputs_and_we_read_its_file(backbone: Path, method: str, tmp_path: Path) -> None:
    artifact = artifact_of(backbone, ADAPTERS[method], tmp_path / "artifact")
    if backbone.name.startswith("gpt2") and method in ("loha", "lokr"):
        with pytest.raises(ArtifactError, match="keeps its weight transposed"):
            export_peft(artifact, tmp_path / "theirs")
        return
    found = export_peft(artifact, tmp_path / "theirs")
    assert found.difference is not None
    assert found.difference < 1e-5
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model: Any = peft.PeftModel.from_pretrained(load(resolve(str(backbone))), tmp_path / "theirs").eval()
    assert not [
        warning for warning in told if "missing" in str(warning.message) or "unexpected" in str(warning.message)
    ]
    plain = load(resolve(str(backbone)))
    inputs = dummy_inputs(plain, device="cpu")
    with torch.no_grad():
        changed = (plain(**inputs).last_hidden_state - model(**inputs).last_hidden_state).abs().max()
    assert changed > 1e-2, "the adapters do something"

    model.save_pretrained(tmp_path / "saved")
    ours, again = (load_file(tmp_path / name / TENSORS) for name in ("theirs", "saved"))
    assert ours.keys() == again.keys()
    convert_peft(tmp_path / "saved", tmp_path / "ours", backbone=str(backbone))
    one, other = (load_artifact(place).backbone for place in (artifact, tmp_path / "ours"))
    with torch.no_grad():
        found, wanted = (each(**inputs).last_hidden_state for each in (other, one))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)  # slices became one adapter: other sums


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("family", ["llama", "gpt2", "bart", "t5"])
def test_a_language_model_is_loaded_by_its_adapter_alone(family: str, tmp_path: Path) -> None:
    """`AutoPeftModelForCausalLM` and its like find the backbone, and give our logits."""
    ref = replace(resolve(family, config=MODELS[family]), head=True)
    save(load(ref), ref, tmp_path / family)
    tokenizer(resolve("minilm")).save_pretrained(tmp_path / family)
    document = {
        "schema": 1,
        "name": "speaks",
        "backbone": {"model": str(tmp_path / family)},
        "modality": {"x": {"kind": "text", "route": "backbone"}},
        "adapter": {"a": {"kind": "lora", "rank": 2, "at": QV}},
        "data": {"format": "jsonl"},
        "task": {"y": {"kind": "generation", "max_tokens": 4}},
    }
    ours: Any = build_model(make_plan(parse_recipe(document))).eval()
    original = fingerprints(ours)[""]
    with torch.no_grad():
        for tensor in ours.trainable_state().values():
            tensor.add_(0.3 * torch.randn_like(tensor))
    artifact = save_artifact(ours, tmp_path / "artifact", base_fingerprint=original)
    found = export_peft(artifact, tmp_path / "theirs")
    assert found.difference is not None
    seq2seq = family in ("bart", "t5")
    auto = peft.AutoPeftModelForSeq2SeqLM if seq2seq else peft.AutoPeftModelForCausalLM
    theirs = auto.from_pretrained(tmp_path / "theirs").eval()
    inputs = {"input_ids": torch.arange(5, 12)[None]}
    inputs |= {"decoder_input_ids": torch.arange(3, 7)[None]} if seq2seq else {}
    with torch.no_grad():
        torch.testing.assert_close(theirs(**inputs).logits, ours.backbone(**inputs).logits, rtol=1e-5, atol=1e-5)
