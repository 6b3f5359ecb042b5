"""Mutants of all bundled recipes, and of small ones that can be planned and trained within a second."""

from __future__ import annotations

import contextlib
import io
import json
import re
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from adaptkit.cli.main import main
from adaptkit.errors import AdaptkitError
from adaptkit.recipe import bundled_names, load_recipe
from adaptkit.recipe.bundled import bundled_path
from tests.fuzz.campaign import Campaign, Case
from tests.fuzz.mutation import mutant, written

CONFIG = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}
COLUMNS = ("question", "features", "age", "answer", "amount")


def small(**tables: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": "small",
        "backbone": {"model": "bert", "config": CONFIG, "tokenizer": "minilm", "max_tokens": 12},
        "modality": {"question": {"kind": "text", "route": "backbone"}},
        "data": {"format": "jsonl", "root": "../data"},
        "task": {"answer": {"kind": "classification", "labels": ["no", "yes"]}},
        "train": {"epochs": 1, "batch_size": 4, "optimizer": {"name": "adamw", "lr": 1e-3, "betas": [0.9, 0.99]}},
    } | tables


QUESTION = {"kind": "text", "route": "backbone"}
FEATURES = {"kind": "features", "width": 4, "missing": "learned"}
SMALL = (
    small(
        modality={"question": QUESTION, "features": {**FEATURES, "route": "side", "modality_dropout": 0.1}},
        adapter={
            "fuse": {"kind": "gmu", "at": ["attn.out", "mlp.out"], "sides": ["features"], "bottleneck": 4},
            "low": {"kind": "lora", "at": ["attn.q"], "rank": 2, "alpha": 4.0, "dropout": 0.1},
        },
    ),
    small(
        modality={"question": QUESTION, "features": {**FEATURES, "route": "fusion"}},
        adapter={"bottle": {"kind": "bottleneck", "at": ["mlp.out"], "layers": [0, 1], "bottleneck": 4, "scale": 0.5}},
        fusion={"kind": "gmu", "width": 8},
        task={"amount": {"kind": "regression", "outputs": 1, "weight": 0.5, "head": {"kind": "mlp", "hidden": 8}}},
        train={"epochs": 1, "batch_size": 4, "clip": 1.0, "schedule": {"name": "linear", "warmup": 0.1}, "seeds": [3]},
    ),
    small(
        modality={
            "question": QUESTION,
            "features": {**FEATURES, "route": "tokens", "max_tokens": 2},
            "age": {"kind": "table", "columns": ["age"], "route": "side", "missing": "zero", "width": 8},
        },
        adapter={
            "wander": {"kind": "wander", "at": "mlp.out", "sides": ["age"], "rank": 2, "combine": "residual"},
            "prompt": {"kind": "prompt", "at": "embed.in", "length": 2},
        },
    ),
)


@cache
def bundled() -> tuple[dict[str, Any], ...]:
    texts = (bundled_path(name).read_text(encoding="utf-8") for name in bundled_names())
    return tuple(tomllib.loads(text) for text in texts)


def prepared(folder: Path) -> Path:
    """The folder of recipes, beside tiny data and a good recipe to extend; made once."""
    recipes = folder / "recipes"
    if not recipes.is_dir():
        (folder / "data").mkdir(parents=True, exist_ok=True)
        recipes.mkdir()
        for split in ("train", "validation", "test"):
            lines = [json.dumps(sample(split, number)) for number in range(8)]
            (folder / "data" / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
        (recipes / "base.toml").write_text(written(SMALL[0]))
    return recipes


def sample(split: str, number: int) -> dict[str, Any]:
    big = number % 2
    vector = [float(big), number / 8, 0.5, 1.0]
    values = ("is it big ?", vector, 20 + number, "yes" if big else "no", float(big))
    return {"id": f"{split}-{number}", **dict(zip(COLUMNS, values, strict=True))}


def run(*words: object) -> tuple[int, str]:
    """Exit code and stderr of one command line in this process."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        code = main([str(word) for word in words])
    return code, told.getvalue()


def judged(code: int, told: str, allowed: tuple[int, ...]) -> Case:
    """No bug of ours, no traceback, nothing told twice, and every mistake of a recipe with its place."""
    first = " ".join(told.split())[:300]
    if code not in allowed:
        return Case(str(code), f"exit code {code}: {first}")
    if "Traceback" in told:
        return Case(str(code), f"a traceback: {first}")
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    twice = [line for line, count in Counter(errors).items() if count > 1]
    if twice:
        return Case(str(code), f"told twice: {twice[0]}")
    if code and not errors:
        return Case(str(code), f"no error told: {first}")
    nowhere = [line for line in errors if not re.match(r"error: \S+(?::\d+)?  |error: --set ", line)]
    if code == 3 and nowhere:
        return Case(str(code), f"without a place: {nowhere[0]}")
    return Case(str(code))


def validate(seed: str, folder: Path) -> Case:
    chance = Random(seed)
    path = prepared(folder) / "mutant.toml"
    document = chance.choice((*bundled(), *SMALL, *SMALL, *SMALL))
    text = mutant(document, chance)
    if chance.random() < 0.1:
        text = 'extends = "base.toml"\n' + text
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return judged(*run("validate", path), (0, 3, 4, 5, 7))


def accepted(seed: str, folder: Path) -> Path | None:
    """The file of a small mutant that reads as a recipe; None where none of twenty does."""
    chance = Random(seed)
    path = prepared(folder) / "mutant.toml"
    for _ in range(20):
        path.write_text(mutant(chance.choice(SMALL), chance, most=1))
        with contextlib.suppress(AdaptkitError):
            load_recipe(path)
            return path
    return None


def plan(seed: str, folder: Path) -> Case:
    path = accepted(seed, folder)
    if path is None:
        return Case("none")
    return judged(*run("plan", path), (0, 3, 4, 5, 7))


STEP = ("train.epochs=1", "train.max_steps=1", "train.workers=0", "train.accumulation=1", "train.tensorboard=false")


def train(seed: str, folder: Path) -> Case:
    path = accepted(seed, folder)
    if path is None:
        return Case("none")
    words = [word for change in STEP for word in ("--set", change)]
    return judged(*run("train", path, *words, "--runs", folder / "runs", "--force"), (0, 3, 4, 5, 6, 7, 8))


CAMPAIGNS = (
    Campaign("recipes: validate", full=10_000, short=60, try_case=validate),
    Campaign("recipes: plan", full=1_000, short=6, try_case=plan),
    Campaign("recipes: train one step", full=100, short=2, try_case=train),
)
