"""Tiny language models that learn to answer in a word, in five families, with what the image of a sample says."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from adaptkit.recipe import Recipe, parse_recipe

WIDE: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
WIDE = {**WIDE, "num_key_value_heads": 2, "max_position_embeddings": 64}
WORDS: dict[str, Any] = {"vocab_size": 15, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
STACKS = {
    f"{side}_{key}": number for side in ("encoder", "decoder") for key, number in (("layers", 2), ("ffn_dim", 48))
}
HEADS = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
BACKBONES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, **WORDS},
    "llama": {**WIDE, **WORDS},
    "qwen2": {**WIDE, **WORDS},
    "bart": {"d_model": 32, "max_position_embeddings": 64, "decoder_start_token_id": 3, **STACKS, **HEADS, **WORDS},
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 15, "eos_token_id": 3},
}
GMU = {"fuse": {"kind": "gmu", "at": ["mlp.out"], "sides": ["features"], "bottleneck": 8}}
SAMPLES = [
    {"question": "the thing", "features": [1.0, 0.0, 0.0, 1.0]},
    {"question": "is it big ? is it big ?", "features": [0.0, 1.0, 1.0, 0.0]},
    {"question": "", "features": [1.0, 0.0, 1.0, 0.0]},
    {"question": "the thing", "features": [0.0, 1.0, 0.0, 1.0]},
]


def write_answers(folder: Path, **sizes: int) -> Path:
    """`question`, `features` (4 numbers), `answer` (a word, or words with scores); neither input alone tells it."""
    chance = random.Random(0)
    for split, size in sizes.items():
        rows = []
        for number in range(size):
            colour, scale = chance.randrange(2), chance.randrange(2)
            asked = chance.randrange(2)
            word = (("red", "blue")[colour], ("small", "big")[scale])[asked]
            rows.append(
                {
                    "question": ("the thing", "is it big ?")[asked],
                    "features": [float(colour), 1.0 - colour, float(scale), 1.0 - scale],
                    "answer": word if number % 3 else {word: 1.0, "a": 0.1},
                }
            )
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def speaking(family: str, tokenizer: Path, data: Path | None = None, *, route: str = "side", **changes: Any) -> Recipe:
    """A recipe that answers; `changes` are tables, laid over its own."""
    features: dict[str, Any] = {"kind": "features", "width": 4, "route": route, "max_tokens": 1}
    tables: dict[str, Any] = {
        "name": "speaking",
        "backbone": {"model": family, "config": BACKBONES[family], "tokenizer": str(tokenizer), "train": ["all"]},
        "modality": {
            "question": {"kind": "text", "route": "backbone"},
            "features": features,
        },
        "adapter": GMU if route == "side" else {},
        "data": {"format": "jsonl", "root": str(data or ".")},
        "task": {"answer": {"kind": "generation", "max_tokens": 6}},
        "train": {"epochs": 1, "batch_size": 8, "optimizer": {"name": "adamw", "lr": 3e-3}},
    }
    for key, table in changes.items():
        tables[key] = {**tables[key], **table} if key in ("backbone", "train") else table
    return parse_recipe(tables)


def answer(**keys: Any) -> dict[str, Any]:
    """`[task.answer]` with these keys."""
    return {"answer": {"kind": "generation", "max_tokens": 6, **keys}}
