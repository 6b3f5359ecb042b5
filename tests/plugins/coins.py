"""A benchmark: invented questions about coins, one JSON file per split."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from adaptkit.benchmarks.benchmark import Benchmark, register
from adaptkit.data.store_writer import StoreWriter
from adaptkit.errors import DataError


@register("coins")
class Coins(Benchmark):
    """Questions about coins: whether one is big or red."""

    name = "coins"
    title = "Coins"
    description = "Questions about coins."
    url = "nowhere"
    columns: ClassVar[Mapping[str, str]] = {
        "question": "text",
        "features": "features (4,)",
        "answer": "label",
    }
    variants: ClassVar[Mapping[str, str]] = {"json": "one file per split"}
    task = '[task.answer] kind = "classification"'

    def find(self, root: Path) -> str:
        if not (root / "train.json").is_file():
            raise DataError("expected train.json.", where=str(root))
        return "json"

    def read(self, root: Path, writer: StoreWriter, variant: str) -> None:
        writer.column("question", "text")
        writer.column("features", "features", width=4)
        writer.column("answer", "label")
        for split in ("train", "validation", "test"):
            for number, record in enumerate(json.loads((root / f"{split}.json").read_text())):
                writer.add(split, f"{split}-{number}", record)

    def synth(self, root: Path, *, variant: str, samples: int, seed: int) -> None:
        draw = random.Random(seed)
        for split, size in {"train": samples, "validation": samples // 3, "test": samples // 3}.items():
            records = []
            for _ in range(size):
                big, red, asked = draw.random() < 0.5, draw.random() < 0.5, draw.choice(("big", "red"))
                answer = "yes" if (big if asked == "big" else red) else "no"
                features = [[float(big), float(red), draw.random(), 1.0]]
                records.append({"question": f"is it {asked} ?", "features": features, "answer": answer})
            (root / f"{split}.json").write_text(json.dumps(records))
