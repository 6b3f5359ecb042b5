"""Small COCO captions in Karpathy's form, which tell what the images show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adaptkit.benchmarks.scenes import images, scene, write_features

WORDS = {"1": "one", "2": "two", "3": "three", "4": "four"}
PHRASES = (
    "{number} {color} {shape} on a table.",
    "a picture of {number} {color} {shape}",
    "There is {number} {color} {shape} in the image.",
    "we see {number} {color} {shape} here",
    "{number} {color} {shape} on a grey ground",
)
SPLITS = {"train": "train", "dev": "val", "test": "test"}


def write_coco(root: Path, *, samples: int, seed: int) -> None:
    """COCO/dataset_coco.json and a feature file for every image; every fourth image of train is of restval."""
    (root / "COCO").mkdir(parents=True, exist_ok=True)
    entries, sentences = [], 0
    for part, numbers in images(-(-3 * samples // len(PHRASES))).items():
        for number in numbers:
            shown = scene(number, seed)
            split = "restval" if part == "train" and number % 4 == 3 else SPLITS[part]
            year = "train2014" if split == "train" else "val2014"
            name = f"COCO_{year}_{number:012d}"
            words = {**shown, "number": WORDS[shown["number"]]}
            listed: list[dict[str, Any]] = []
            for phrase in PHRASES:
                raw = phrase.format(**words)
                listed.append(
                    {"tokens": raw.lower().strip(".").split(), "raw": raw, "imgid": number, "sentid": sentences}
                )
                sentences += 1
            image = {"filepath": year, "filename": f"{name}.jpg", "imgid": number, "cocoid": number, "split": split}
            entries.append({**image, "sentids": [entry["sentid"] for entry in listed], "sentences": listed})
            write_features(root / "COCO" / "clip_features" / "data_clip_RN101_att", name, number, seed)
    (root / "COCO" / "dataset_coco.json").write_text(json.dumps({"images": entries, "dataset": "coco"}))
