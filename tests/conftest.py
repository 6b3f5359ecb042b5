"""Fixtures for the whole suite: a tiny BERT with a tokenizer on disk, and a tiny learnable data set."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

# Tiny models run fastest on one thread. Set before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["ADAPTKIT_CACHE"] = "off"  # a test computes what it looks at, and leaves nothing with whoever runs it

WORDS = ("is", "it", "big", "small", "red", "blue", "the", "thing", "a", "?")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)


@pytest.fixture
def forgotten_plugins() -> Iterator[None]:
    """What a test loads is gone after it."""
    from adaptkit.kinds import forget_plugin, loaded_plugins

    yield
    for plugin in loaded_plugins():
        forget_plugin(plugin.name)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a randomly initialised BERT (2 layers, width 16) with its WordPiece tokenizer."""
    return write_tiny_bert(tmp_path_factory.mktemp("models") / "tiny-bert")


def write_tiny_bert(folder: Path) -> Path:
    """`tiny_bert`, into this folder."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(VOCABULARY) + "\n")
    BertTokenizerFast(str(vocabulary)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with train, validation and test .jsonl: `question`, `features` (4 numbers), `answer`, `amount`.

    The question asks for one of two properties, the features hold both: neither alone tells the answer.
    """
    return write_tiny_data(tmp_path_factory.mktemp("data"), train=44, validation=16, test=16)


def write_tiny_data(folder: Path, **sizes: int) -> Path:
    """`tiny_data`, into this folder: split -> number of samples."""
    folder.mkdir(exist_ok=True)
    chance = random.Random(0)
    for split, size in sizes.items():
        lines = [json.dumps(_example(chance, f"{split}-{index}")) for index in range(size)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def _example(chance: random.Random, name: str) -> dict[str, object]:
    big, red = chance.random() < 0.5, chance.random() < 0.5
    asked = chance.choice(("big", "red"))
    vector = [float(big), float(red), chance.gauss(0, 0.1), 1.0]
    targets = {"answer": "yes" if (big if asked == "big" else red) else "no", "amount": sum(vector)}
    return {"id": name, "question": f"is the thing {asked} ?", "features": vector, **targets}


RECIPE = """\
schema = 1
name = "tiny"

[backbone]
model = "{model}"

[modality.question]
kind = "text"
route = "backbone"

[modality.features]
kind = "features"
width = 4
route = "side"

[adapter.fuse]
kind = "gmu"
at = ["mlp.out"]
sides = ["features"]
bottleneck = 4

[data]
format = "jsonl"
root = "{data}"

[task.answer]
kind = "classification"

[train]
epochs = 2
batch_size = 8
log_every = 2
optimizer = {{ name = "adamw", lr = 0.01, weight_decay = 0.01 }}
"""


@pytest.fixture
def tiny_recipe(tiny_bert: Path, tiny_data: Path, tmp_path: Path) -> Path:
    """A recipe file: GMU adapters that let `features` into the tiny BERT. Two epochs of six steps."""
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.format(model=tiny_bert.as_posix(), data=tiny_data.as_posix()))
    return path


@pytest.fixture(scope="session")
def tiny_run(tiny_bert: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny recipe. Never write into it: copy it first."""
    from adaptkit.recipe import load_recipe
    from adaptkit.training import train

    folder = tmp_path_factory.mktemp("trained")
    path = folder / "tiny.toml"
    path.write_text(RECIPE.format(model=tiny_bert.as_posix(), data=tiny_data.as_posix()))
    return train(load_recipe(path), runs=folder / "runs").run
