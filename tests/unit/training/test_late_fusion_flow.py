"""The published flow of Wander on CMU-MOSI: late fusion of three towers, pre-trained, frozen, and tuned by Wander."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from adaptkit.artifact import load_artifact
from adaptkit.recipe import load_recipe
from adaptkit.training import train

TOWER = (
    "{ vocab_size = 3, hidden_size = 8, num_hidden_layers = 1, num_attention_heads = 2, intermediate_size = 8, "
    "max_position_embeddings = 8 }"
)
LATE = f"""\
name = "late"

[backbone]
model = "bert"
config = {TOWER}
train = ["all"]
pool = "first"

[modality.text]
kind = "features"
width = 3
max_tokens = 4
route = "tokens"

[modality.audio]
kind = "features"
width = 2
max_tokens = 4
route = "fusion"
missing = "zero"
tower = {{ model = "bert", config = {TOWER}, train = ["all"] }}

[modality.vision]
kind = "features"
width = 2
max_tokens = 4
route = "fusion"
tower = {{ model = "bert", config = {TOWER}, train = ["all"] }}

[fusion]
norm = false

[data]
format = "jsonl"

[task.sentiment]
kind = "regression"
loss = "l1"
head = {{ kind = "residual" }}

[train]
epochs = 1
batch_size = 8
optimizer = {{ name = "adamw", lr = 1e-2 }}
"""
TUNED = """\
extends = "late.toml"
name = "tuned"
init_from = "runs/late"

[backbone]
train = []

[modality.text]
train = false

[modality.audio]
train = false
tower.train = []

[modality.vision]
train = false
tower.train = []

[fusion]
kind = "concat"
repeat = 3

[adapter.wander]
kind = "wander"
at = "fusion"
sides = ["audio", "vision"]
rank = 3
drank = 2
trank = 2
out_tokens = 3
"""


def write(folder: Path) -> None:
    rng = random.Random(0)

    def sequence(width: int) -> list[list[float]]:
        return [[round(rng.gauss(0, 1), 3) for _ in range(width)] for _ in range(rng.randint(1, 4))]

    for split, size in (("train", 16), ("validation", 8), ("test", 8)):
        rows = [
            {
                "id": f"{split}-{index}",
                "text": sequence(3),
                "audio": None if index == 3 else sequence(2),
                "vision": sequence(2),
                "sentiment": rng.gauss(0, 1),
            }
            for index in range(size)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "late.toml").write_text(LATE)
    (folder / "tuned.toml").write_text(TUNED)


def test_the_flow(tmp_path: Path) -> None:
    write(tmp_path)
    base = train(load_recipe(tmp_path / "late.toml"), runs=tmp_path / "runs").run
    run = train(load_recipe(tmp_path / "tuned.toml"), runs=tmp_path / "runs").run
    before, after = (load_file(folder / "artifact" / "adapter.safetensors") for folder in (base, run))
    parts = {".".join(name.split(".")[:2]) for name in before}
    assert parts >= {"encoders.audio", "encoders.vision", "heads.sentiment", "projections.text"}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    # The head begins as it was and learns, with the first fused token in the place of each modality.
    assert changed
    assert all(name.startswith("heads.") for name in changed)
    assert all(name.startswith("fusion.adapters.wander.") for name in after.keys() - before.keys())
    readout, left, *fresh = json.loads((run / "summary.json").read_text())["warnings"]
    assert "what heads read comes about otherwise than in" in readout
    assert "fusion.repeat was 1 and is 3. Their values are taken all the same." in readout
    assert [left, *fresh][-1] == "init_from: these start fresh: adapter wander (18 tensors)"
    shutil.rmtree(base)
    model = load_artifact(run)
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in after.items())
    model.train()
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad} == {"fusion", "heads"}
