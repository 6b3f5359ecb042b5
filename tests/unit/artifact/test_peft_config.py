"""adapter_config.json as PEFT is given it, whole: which keys, of which values, for every method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from adaptkit.artifact import export_peft, save_artifact
from adaptkit.artifact.to_peft import CONFIG, TENSORS
from adaptkit.model import build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe

QUERIES = [f"encoder.layer.{layer}.attention.self.query" for layer in (0, 1)]
DOWNS = [f"encoder.layer.{layer}.output.dense" for layer in (0, 1)]
SAME = {
    "task_type": "FEATURE_EXTRACTION",
    "revision": None,
    "inference_mode": True,
    "target_modules": QUERIES,
    "modules_to_save": None,
}
LOW = {"peft_type": "LORA", "r": 2, "lora_alpha": 6.0, "lora_dropout": 0.1, "use_dora": False}
METHODS: dict[str, tuple[dict[str, Any], dict[str, Any], set[str]]] = {
    "lora": ({"rank": 2, "alpha": 6.0, "dropout": 0.1}, LOW, {"lora_A.weight", "lora_B.weight"}),
    "rslora": (
        {"kind": "lora", "rank": 4, "alpha": 6.0, "scaling": "rank_stabilized"},
        LOW | {"r": 4, "lora_alpha": 12.0, "lora_dropout": 0.0},
        {"lora_A.weight", "lora_B.weight"},
    ),
    "dora": (
        {"rank": 2, "alpha": 6.0, "dropout": 0.1},
        LOW | {"use_dora": True},
        {"lora_A.weight", "lora_B.weight", "lora_magnitude_vector"},
    ),
    "ia3": ({}, {"peft_type": "IA3"}, {"ia3_l"}),
    "ia3_input": (
        {"kind": "ia3", "on": "input", "at": "mlp.down"},
        {"peft_type": "IA3", "target_modules": DOWNS, "feedforward_modules": DOWNS},
        {"ia3_l"},
    ),
    "loha": (
        {"rank": 2, "alpha": 6.0},
        {"peft_type": "LOHA", "r": 2, "alpha": 6.0},
        {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"},
    ),
}


def exported(tiny_bert: Path, folder: Path, adapter: dict[str, Any]) -> Any:
    """The result, and where it lies."""
    document = {
        "schema": 1,
        "name": "one",
        "backbone": {"model": str(tiny_bert)},
        "modality": {
            "question": {"kind": "text", "route": "backbone"},
            "features": {"kind": "features", "route": "fusion", "width": 4},
        },
        "adapter": {"a": {"at": "attn.q", **adapter}},
        "data": {"format": "jsonl"},
        "task": {"y": {"kind": "classification", "labels": ["a", "b"]}},
    }
    artifact = save_artifact(build_model(make_plan(parse_recipe(document))), folder / "artifact")
    return export_peft(artifact, folder / "theirs", check=False)


@pytest.mark.parametrize("method", METHODS)
def test_the_configuration_is_whole(tiny_bert: Path, tmp_path: Path, method: str) -> None:
    table, told, names = METHODS[method]
    found = exported(tiny_bert, tmp_path, {"kind": method, **table})
    config = json.loads((found.folder / CONFIG).read_text())
    assert config.pop("base_model_name_or_path") == str(tiny_bert.resolve())
    assert config == SAME | told
    ends = {name.partition(f"{config['target_modules'][0]}.")[2] for name in load_file(found.folder / TENSORS)}
    assert ends - {""} == names
    with safe_open(found.folder / TENSORS, "pt") as file:
        assert file.metadata() == {"format": "pt"}  # without which transformers refuses a file
    assert found.left == ("head of y", "encoder of features")
