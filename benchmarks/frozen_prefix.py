"""An epoch that runs what lies above the frozen prefix against one that runs all of it, by process time.

python benchmarks/frozen_prefix.py
"""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from paired import RESULTS, arguments
from PIL import Image

from adaptkit.recipe import load_recipe
from adaptkit.training import train
from adaptkit.training.callbacks import Callback

BERT = "model = 'bert', tokenizer = 'minilm', config = { hidden_size = 256, num_hidden_layers = 9, " + (
    "num_attention_heads = 4, intermediate_size = 1024, vocab_size = 30522 }"
)
VIT = "{ model = 'vit', config = { hidden_size = 192, num_hidden_layers = 6, num_attention_heads = 3, " + (
    "intermediate_size = 768, image_size = 112, patch_size = 16 } }"
)
RECIPE = """\
schema = 1
name = "frozen"
backbone = {{ {bert} }}
modality.text = {{ kind = "text", route = "backbone" }}
modality.photo = {{ kind = "image", route = "{route}", tower = {vit} }}
data = {{ format = "jsonl", root = "{root}" }}
task.answer = {{ kind = "classification", labels = ["no", "yes"] }}
{adapter}

[train]
epochs = {epochs}
batch_size = 16
"""
# Name -> route of the picture, adapters, and the most of an uncached epoch that one from the cache is to take.
CASES = {
    "a head on two frozen towers": ("fusion", "", 1 / 20),
    "Wander after all layers": (
        "side",
        'adapter.w = { kind = "wander", at = ["fusion"], sides = ["photo"], rank = 4, drank = 4, trank = 4 }',
        1 / 20,
    ),
    "GMU in the top third": (
        "side",
        'adapter.g = { kind = "gmu", at = ["mlp.out"], layers = [6, 7, 8], sides = ["photo"], bottleneck = 16 }',
        0.45,
    ),
}
SAMPLES, EPOCHS = 64, 3
WORDS = ("a man buys an old house by the sea", "and finds letters", "of a woman who lived there", "before him")


class Epochs(Callback):
    """Process seconds of every epoch: its steps, its validation and what is written at its end."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.now = time.process_time()

    def seed_started(self, event: Any) -> None:
        self.now = time.process_time()

    def validated(self, event: Any) -> None:
        self.seconds.append(time.process_time() - self.now)
        self.now = time.process_time()


def write_data(folder: Path) -> None:
    folder.mkdir()
    chance, pixels = random.Random(0), np.random.default_rng(0)
    for split, size in {"train": SAMPLES, "validation": 16, "test": 16}.items():
        rows = []
        for number in range(size):
            name = f"{split}{number}.png"
            Image.fromarray(pixels.integers(0, 255, (300, 200, 3), dtype=np.uint8)).save(folder / name)
            text = " ".join(chance.choices(WORDS, k=chance.randint(7, 15)))
            rows.append({"id": f"{split}{number}", "text": text, "photo": name, "answer": chance.choice(("no", "yes"))})
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def trained(recipe: Path, runs: Path, *sets: str) -> tuple[Epochs, list[float]]:
    seen = Epochs()
    result = train(load_recipe(recipe, sets), runs=runs, callbacks=[seen], force=True)
    lines = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    return seen, [line["loss"] for line in lines if line.get("loss") is not None]


def measure(name: str, place: Path, runs: int) -> dict[str, Any]:
    """Uncached and cached trainings in turn, each pair with an empty cache."""
    route, adapter, wanted = CASES[name]
    recipe = place / "frozen.toml"
    text = {"bert": BERT, "vit": VIT, "route": route, "root": (place / "data").as_posix(), "adapter": adapter}
    recipe.write_text(RECIPE.format(epochs=EPOCHS, **text))
    found: dict[str, list[float]] = {"without": [], "with": []}
    apart = 0.0
    for run in range(runs):
        plain, losses = trained(recipe, place / "runs", "cache.enabled=false")
        kept, others = trained(recipe, place / "runs", f"cache.folder='{place / f'cache {name} {run}'}'")
        found["without"].append(statistics.median(plain.seconds))
        found["with"].append(statistics.median(kept.seconds))
        apart = max([apart, *(abs(a - b) / abs(a) for a, b in zip(losses, others, strict=True))])
    ratios = [cached / plain for cached, plain in zip(found["with"], found["without"], strict=True)]
    shown = statistics.median(ratios)
    print(
        f"  {name:<30} epoch {statistics.median(found['without']):6.2f} s, from the cache "
        f"{statistics.median(found['with']):6.2f} s: {shown:.3f} ({min(ratios):.3f} .. {max(ratios):.3f}), "
        f"wanted {wanted:.2f}, "
        f"losses apart {apart:.1e}"
    )
    return {"name": name, "wanted": wanted, "ratio": shown, "losses_apart": apart, **found}


def seeds(place: Path) -> dict[str, Any]:
    """One epoch of one seed without a cache, and three seeds with one."""
    recipe = place / "frozen.toml"

    def spent(work: Callable[[], Any]) -> float:
        began = time.process_time()
        work()
        return time.process_time() - began

    one = spent(lambda: trained(recipe, place / "runs", "cache.enabled=false"))
    sets = ("train.seeds=[0,1,2]", f"cache.folder='{place / 'cache of seeds'}'")
    three = spent(lambda: trained(recipe, place / "runs", *sets))
    print(f"  three seeds with a cache: {three:.1f} s, one without: {one:.1f} s, {three / one:.2f} of it")
    return {"name": "three seeds", "one_without": one, "three_with": three}


def main() -> None:
    options = arguments(__doc__ or "", runs=3)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    print(f"frozen_prefix on cpu, {torch.get_num_threads()} threads, torch {torch.__version__}, process time")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_data(place / "data")
        found = [measure(name, place, options.runs) for name in reversed(CASES)]
        found.append(seeds(place))  # of the last case, the head
    content = {
        "title": "frozen_prefix",
        "device": f"cpu, {torch.get_num_threads()} threads",
        "machine": platform.machine(),
        "torch": torch.__version__,
        "clock": "process time",
        "settings": {"samples": SAMPLES, "epochs": EPOCHS, "batch": 16, "bert": BERT, "vit": VIT},
        "cases": found,
    }
    (RESULTS / "frozen_prefix-cpu.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
