"""A small UPMC Food-101, laid out as downloaded, whose dishes neither text nor picture tells alone."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

# Two dishes that the words do not tell apart, and the words.
PAIRS: tuple[tuple[tuple[str, str], tuple[str, ...]], ...] = (
    (("apple_pie", "carrot_cake"), ("sweet baked dessert", "sugar and cinnamon for tea", "a slice from the oven")),
    (
        ("caesar_salad", "greek_salad"),
        ("fresh green lettuce leaves", "vegetables with dressing", "a healthy raw starter"),
    ),
    (("clam_chowder", "miso_soup"), ("a bowl of hot soup", "warm broth with a spoon", "simmer the liquid slowly")),
    (("hamburger", "pulled_pork_sandwich"), ("meat in a bun", "grilled on the barbecue", "fast food to take away")),
    (("sashimi", "sushi"), ("raw fish from Japan", "tuna and salmon with soy sauce", "served with wasabi")),
)
FILLERS = (
    "recipe",
    "how to cook",
    "best ever",
    "kitchen stories",
    "food blog",
    "photo gallery",
    "easy steps",
    "my page",
)
DISHES = tuple(sorted(dish for pair, _ in PAIRS for dish in pair))
COLOURS = ((200, 70, 50), (50, 120, 200))  # of the plate: of the first and of the second dish of each pair
HTML = "<html><head><title>{title}</title></head>\n<body><p>{title}, and more.</p></body></html>\n"


def write_food101(root: Path, *, variant: str, samples: int, seed: int) -> None:
    """`samples` of train and half as many of test, at least one of each dish; the defects of the published files
    are in it, once each.
    """
    rng = np.random.default_rng((seed, 9301))
    rows: dict[str, list[tuple[str, str, str]]] = {"train": [], "test": []}
    number = 0
    for split, count in (("train", samples), ("test", (samples + 1) // 2)):
        for _ in range(max(count, len(DISHES))):
            pair, which = divmod(number % len(DISHES), 2)
            dish = PAIRS[pair][0][which]
            name = f"{dish}_{number // len(DISHES)}"
            path = root / "images" / split / dish / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(_plate(which, rng)).save(path, quality=90)
            rows[split].append((f"{name}.jpg", _title(pair, rng), dish))
            number += 1
    (_write_titles if variant == "artelab" else _write_pages)(root, rows)


def _title(pair: int, rng: np.random.Generator) -> str:
    words = [PAIRS[pair][1][int(rng.integers(3))], *(FILLERS[i] for i in rng.choice(len(FILLERS), 2, False))]
    return ", ".join(words[i] for i in rng.permutation(3))


def _plate(which: int, rng: np.random.Generator) -> np.ndarray:
    """(64, 64, 3) uint8: a disc in one of the two colours on a table of any grey."""
    y, x = np.mgrid[:64, :64] - 31.5
    disc = x**2 + y**2 < rng.integers(20, 30) ** 2
    values = np.where(disc[..., None], np.asarray(COLOURS[which]), rng.integers(60, 200))
    return np.clip(values + rng.normal(0, 12, (64, 64, 3)), 0, 255).astype(np.uint8)


def _write_titles(root: Path, rows: dict[str, list[tuple[str, str, str]]]) -> None:
    """texts/*_titles.csv; in train one quote stays open and the row after it names a .txt file, as published."""
    (root / "texts").mkdir(parents=True, exist_ok=True)
    for split, found in rows.items():
        lines = []
        for number, (image, title, dish) in enumerate(found):
            line = io.StringIO()
            csv.writer(line, lineterminator="").writerow([image, title, dish])
            lines.append(line.getvalue())
            if split == "train" and number == 3:
                lines[-1] = f'{image},"{title},{dish}'
            if split == "train" and number == 4:
                lines[-1] = lines[-1].replace(".jpg", ".txt", 1)
        (root / "texts" / f"{split}_titles.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_pages(root: Path, rows: dict[str, list[tuple[str, str, str]]]) -> None:
    """texts_txt/<dish>/<dish>_<n>.txt, one folder for both splits; one picture has no text."""
    for split, found in rows.items():
        for number, (image, title, dish) in enumerate(found):
            page = root / "texts_txt" / dish / image.replace(".jpg", ".txt")
            page.parent.mkdir(parents=True, exist_ok=True)
            if split == "train" and number == 3:
                continue
            page.write_text(HTML.format(title=title), encoding="utf-8")
