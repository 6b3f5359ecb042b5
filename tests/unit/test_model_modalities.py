"""Every kind of modality in one recipe: from files on disk to a trained artifact that gives the same outputs."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from adaptkit.artifact import load_artifact
from adaptkit.data.collate import Collator
from adaptkit.formats.load import load_data
from adaptkit.model import AdaptedModel
from adaptkit.recipe import load_recipe
from adaptkit.training import train

SMALL = "hidden_size = 16, num_hidden_layers = 1, num_attention_heads = 2, intermediate_size = 16"
HEARS = "conv_dim = [8,8,8,8,8,8,8], num_conv_pos_embeddings = 16, num_conv_pos_embedding_groups = 2"
RECIPE = """\
name = "every_kind"
backbone = {{ model = "{model}" }}
data = {{ format = "jsonl" }}
train = {{ epochs = 2, batch_size = 8, optimizer = {{ name = "adamw", lr = 0.01 }} }}

[modality]
question = {{ kind = "text", route = "backbone" }}
title = {{ kind = "text", route = "side", tower = {{ model = "{model}" }}, pool = "attention", keep = "middle", \
max_tokens = 4 }}
mel = {{ kind = "audio", column = "sound", route = "side", seconds = 0.2, missing = "learned", pool = "mean" }}
wave = {{ kind = "audio", column = "sound", route = "side", seconds = 0.2, missing = "zero", \
tower = {{ model = "wav2vec2", config = {{ {small}, {hears} }} }} }}
clip = {{ kind = "video", route = "side", frames = 3, pool = "max", \
tower = {{ model = "vit", train = ["norm"], config = {{ {small}, image_size = 8, patch_size = 4 }} }} }}
picture = {{ kind = "image", route = "tokens", encoder = "patches", patch = 4, size = 8 }}
person = {{ kind = "table", route = "side", columns = ["age"], categorical = ["city"], missing = "mean", \
tokens = "columns", width = 8 }}

[adapter.fuse]
kind = "gmu"
at = ["mlp.out"]
sides = ["title", "mel", "wave", "clip", "person"]
bottleneck = 8

[task.answer]
kind = "classification"
"""


def write_video(path: Path, level: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            frame = np.full((16, 16, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def recipe(tmp_path: Path, tiny_bert: Path) -> Path:
    """Files of every kind; the answer is in the pitch of the sound."""
    chance, noise = random.Random(0), np.random.default_rng(0)
    for split, count in (("train", 32), ("validation", 8), ("test", 8)):
        lines = []
        for index in range(count):
            high, name = chance.random() < 0.5, f"{split}{index}"
            tone = np.sin(np.arange(4000) * (0.5 if high else 0.1)) * 0.3 + noise.normal(size=4000) * 0.02
            soundfile.write(tmp_path / f"{name}.wav", tone.astype(np.float32), 16000)
            write_video(tmp_path / f"{name}.mp4", chance.randrange(256))
            Image.new("RGB", (9, 9), (chance.randrange(256), 0, 0)).save(tmp_path / f"{name}.png")
            line = {
                "question": "is it big ?",
                "title": "the big red thing is it",
                "sound": f"{name}.wav" if index % 7 else None,
                "clip": f"{name}.mp4",
                "picture": f"{name}.png",
                "age": chance.gauss(30, 9) if index % 3 else None,
                "city": chance.choice(["Rome", "Oslo", None]),
                "answer": "yes" if high else "no",
            }
            lines.append(json.dumps(line))
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    path = tmp_path / "every_kind.toml"
    path.write_text(RECIPE.format(model=tiny_bert.as_posix(), small=SMALL, hears=HEARS))
    return path


def logits(model: AdaptedModel, samples: Sequence[object]) -> torch.Tensor:
    batch = Collator(model.encoders, {})(samples)  # type: ignore[arg-type]
    with torch.no_grad():
        return model.eval()(batch["inputs"])["answer"]


def test_every_kind_trains_and_comes_back_from_its_artifact(recipe: Path, tmp_path: Path) -> None:
    loaded = load_recipe(recipe)
    run = train(loaded, runs=tmp_path / "runs").run
    samples = load_data(loaded).splits["test"]
    first, second = load_artifact(run), load_artifact(run)
    assert torch.equal(logits(first, samples), logits(second, samples))
    # What the table learned of the training split is in the artifact.
    state = first.state_dict()
    assert state["encoders.person.center"].isfinite().all()
    assert state["encoders.person.codes"].count_nonzero() == 2
    # Of a tower only what was trained is in it.
    stored = set(first.trainable_state())
    assert any(key.startswith("encoders.clip.tower.") for key in stored)
    assert not any(key.startswith(("encoders.wave.tower.", "encoders.title.tower.")) for key in stored)
