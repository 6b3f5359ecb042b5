"""Small NLVR and NLVR2 in their published forms, whose sentences are true or false by what the images show."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.benchmarks.planted import parts
from adaptkit.benchmarks.scenes import COLOURS, SHAPES, VALUES, scene, thing, write_features, write_picture

VLT5 = {"train": "train", "dev": "valid", "test": "test"}
OFFICIAL = {"train": "train", "dev": "dev", "test": "test1"}
SAYS = {"color": "the things on the {} are {}", "shape": "the {} picture shows a {}", "number": "on the {} there is {}"}
BOX = 100  # pixels


def write_nlvr2(root: Path, *, variant: str, samples: int, seed: int) -> None:
    """A sentence goes with two pairs of images, of one of which it is true: identifiers split-set-pair-sentence."""
    vlt5 = variant == "vlt5"
    folder = root / "nlvr" if vlt5 else root / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for part, numbers in parts(samples).items():
        official = OFFICIAL[part]
        rows: list[dict[str, Any]] = []
        for number in range(numbers.start // 2, -(-numbers.stop // 2)):
            rng = np.random.default_rng((seed, 9611, number))
            text, pairs = _claim(number, seed, rng)
            for pair, (left, right, is_true) in enumerate(pairs):
                base = f"{official}-{number}-{pair}"
                if vlt5:
                    sides = {"img0": f"{base}-img0", "img1": f"{base}-img1"}
                    ids = {"identifier": f"{base}-0", "uid": f"nlvr2_{VLT5[part]}_{len(rows)}"}
                    rows.append({**ids, **sides, "label": int(is_true), "sent": text})
                else:
                    label = {"label": str(is_true), "identifier": f"{base}-0"}
                    rows.append({"sentence": text, "left_url": "", "right_url": "", "writer": "1", **label})
                for side, shown in enumerate((left, right)):
                    name = f"{base}-img{side}"
                    if vlt5:
                        write_features(folder / "clip_features" / "data_clip_RN101_att", name, shown, seed)
                    else:
                        write_picture(root / "images" / official / f"{name}.png", shown, seed)
        lines = json.dumps(rows) if vlt5 else "\n".join(map(json.dumps, rows)) + "\n"
        (folder / f"{VLT5[part] if vlt5 else official}.json").write_text(lines)


def _claim(number: int, seed: int, rng: np.random.Generator) -> tuple[str, list[tuple[int, int, bool]]]:
    """A sentence and its pairs: (scene on the left, scene on the right, true). The other side says nothing of it."""
    about, side = [*VALUES][number % len(VALUES)], int(rng.integers(2))
    fitting = 7919 * number  # scenes of its own
    value = scene(fitting, seed)[about]
    other = next(n for n in range(fitting + 1, fitting + 999) if scene(n, seed)[about] != value)
    beside = [fitting + 1000 + int(rng.integers(1000)) for _ in range(2)]
    pairs = []
    for shown, far, is_true in ((fitting, beside[0], True), (other, beside[1], False)):
        pairs.append((shown, far, is_true) if side == 0 else (far, shown, is_true))
    return SAYS[about].format(("left", "right")[side], value), [pairs[i] for i in rng.permutation(2)]


def write_nlvr(root: Path, *, samples: int, seed: int) -> None:
    """nlvr/{train,dev,test}: three boxes with a thing each, in six orders; a sentence about one of them."""
    for part, numbers in parts(max(4, samples // 6)).items():
        folder = root / "nlvr" / part
        lines = []
        for number in numbers:
            rng = np.random.default_rng((seed, 9612, number))
            things = [(str(rng.choice([*COLOURS])), str(rng.choice(SHAPES))) for _ in range(3)]
            is_true, about = number % 2 == 0, int(rng.integers(2))
            if not is_true and len({shape for _, shape in things}) == len(SHAPES):
                about = 0  # of three things, no four colours
            there = {one[about] for one in things}
            told = sorted(there if is_true else set(((*COLOURS,), SHAPES)[about]) - there)
            value = told[int(rng.integers(len(told)))]
            directory = str(number // 100)
            for order, boxes in enumerate(permutations(things)):
                _draw(folder / "images" / directory / f"{part}-{number}-0-{order}.png", boxes, rng)
            text = f"There is a box with a {value}{' thing' if about == 0 else ''}."
            evals = {"r0": str(is_true).lower()}
            row = {"sentence": text, "label": str(is_true).lower(), "identifier": f"{number}-0", "directory": directory}
            lines.append(json.dumps({**row, "evals": evals, "structured_rep": [[], [], []]}))
        (folder / f"{part}.json").write_text("\n".join(lines) + "\n")


def _draw(path: Path, boxes: tuple[tuple[str, str], ...], rng: np.random.Generator) -> None:
    """400 x 100 pixels with transparency, as published: three boxes on light grey."""
    from PIL import Image

    values = np.full((BOX, 4 * BOX, 4), 211, dtype=np.uint8)
    values[..., 3] = 255
    for place, (colour, shape) in enumerate(boxes):
        left = place * (BOX + 50)
        top, aside = rng.integers(0, BOX // 2, 2)
        box = values[top : top + BOX // 2, left + aside : left + aside + BOX // 2]
        box[thing(shape, BOX // 2)] = (*COLOURS[colour], 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
