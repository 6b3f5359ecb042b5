"""A model that speaks goes to other libraries as the language model it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adaptkit.artifact import convert, export_adapterhub, export_peft, load_artifact, save_artifact
from adaptkit.artifact.save import fingerprints
from adaptkit.artifact.to_peft import CONFIG, TENSORS
from adaptkit.model import build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe
from tests.unit.generation.speaking import BACKBONES

CLASSES = {
    "llama": ("LlamaForCausalLM", "CAUSAL_LM", "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"),
    "gpt2": ("GPT2LMHeadModel", "CAUSAL_LM", "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"),
    "t5": (
        "T5ForConditionalGeneration",
        "SEQ_2_SEQ_LM",
        "base_model.model.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight",
    ),
}


def speaker(tiny_bert: Path, folder: Path, family: str, adapter: dict[str, Any]) -> Any:
    """A language model on the disk, and an artifact on it at `folder / "ours"` whose adapters do something."""
    import transformers

    name = CLASSES[family][0]
    config = transformers.AutoConfig.for_model(family, **BACKBONES[family])
    torch.manual_seed(0)
    getattr(transformers, name)(config).save_pretrained(folder / "backbone")
    for file in tiny_bert.glob("tokenizer*"):
        shutil.copy(file, folder / "backbone")
    document = {
        "schema": 1,
        "name": "speaks",
        "backbone": {"model": str(folder / "backbone")},
        "modality": {"question": {"kind": "text", "route": "backbone"}},
        "adapter": {"a": adapter},
        "data": {"format": "jsonl"},
        "task": {"answer": {"kind": "generation", "max_tokens": 4}},
    }
    model = build_model(make_plan(parse_recipe(document)))
    original = fingerprints(model)[""]
    with torch.no_grad():
        for tensor in model.trainable_state().values():
            tensor.add_(0.3 * torch.randn_like(tensor))
    save_artifact(model, folder / "ours", base_fingerprint=original)
    return model.eval()


@pytest.mark.parametrize("family", CLASSES)
def test_peft_is_told_that_it_is_a_language_model(tiny_bert: Path, tmp_path: Path, family: str) -> None:
    model = speaker(tiny_bert, tmp_path, family, {"kind": "lora", "rank": 2, "at": ["attn.q", "attn.v"]})
    export_peft(tmp_path / "ours", tmp_path / "theirs", check=False)
    _, task, key = CLASSES[family]
    config = json.loads((tmp_path / "theirs" / CONFIG).read_text())
    tensors = load_file(tmp_path / "theirs" / TENSORS)
    assert config["task_type"] == task
    assert key in tensors
    # The layout that vLLM reads: A and B of modules of the language model, one rank and one alpha, no bias.
    assert {name.rpartition(".lora_")[2] for name in tensors} == {"A.weight", "B.weight"}
    assert all(name.startswith("base_model.model.") for name in tensors)
    assert config["r"] > 0 < config["lora_alpha"]
    assert not any(config.get(word) for word in ("rank_pattern", "alpha_pattern", "modules_to_save", "use_dora"))
    convert(tmp_path / "theirs", tmp_path / "back", backbone=str(tmp_path / "backbone"))
    again = sorted(load_artifact(tmp_path / "back").trainable_state().values(), key=lambda each: each.double().norm())
    first = sorted(model.trainable_state().values(), key=lambda each: each.double().norm())
    if family != "gpt2":  # whose slices became one whole
        assert all(map(torch.equal, first, again))


@pytest.mark.parametrize("family", CLASSES)
def test_adapterhub_gets_what_is_in_its_base_model(tiny_bert: Path, tmp_path: Path, family: str) -> None:
    speaker(tiny_bert, tmp_path, family, {"kind": "bottleneck", "at": "mlp.out", "bottleneck": 4})
    found = export_adapterhub(tmp_path / "ours", tmp_path / "theirs")
    assert found.difference == 0.0
