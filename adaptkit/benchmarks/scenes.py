"""Invented images that questions can be asked about: a number of things of one colour and one shape.

Everything about the image of a number follows from the number and the seed, so that several data sets that are written
into one folder agree on what their common images show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adaptkit.benchmarks.planted import vectors
from adaptkit.errors import UnavailableError

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (220, 50, 40),
    "green": (60, 180, 75),
    "blue": (50, 90, 220),
    "yellow": (240, 210, 50),
}
SHAPES = ("circle", "square", "triangle")
COUNTS = ("1", "2", "3", "4")
VALUES: Mapping[str, tuple[str, ...]] = {"color": (*COLOURS,), "shape": SHAPES, "number": COUNTS}
QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "color": ("What color is it?", "Which color do the things have?", "What is the color of this?"),
    "shape": ("What shape is it?", "Which shape do the things have?", "What is the shape of this?"),
    "number": ("How many things are there?", "How many are in the picture?", "What number of things is shown?"),
}
CLAIMS: Mapping[str, str] = {"color": "Is it {}?", "shape": "Is it a {}?", "number": "Are there {}?"}
PER_IMAGE = 3  # questions about an image
GRID, WIDTH = 49, 2048  # as CLIP's RN101 gives them: 7 x 7 cells


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about an image, with the answer that is right.

    Attributes:
        about: "color", "shape" or "number".
        text: the question.
        answer: a value, or "yes" or "no".
    """

    about: str
    text: str
    answer: str

    @property
    def answer_type(self) -> str:
        """As VQA tells answers apart."""
        if self.answer in ("yes", "no"):
            return "yes/no"
        return "number" if self.about == "number" else "other"


def scene(number: int, seed: int) -> dict[str, str]:
    """What the image of this number shows: a color, a shape and a number."""
    rng = np.random.default_rng((seed, 9601, number))
    return {about: values[int(rng.integers(len(values)))] for about, values in VALUES.items()}


def asked(number: int, turn: int, seed: int) -> Asked:
    """The question of this turn about an image. It alone tells what kind of answer is right, and no more."""
    rng = np.random.default_rng((seed, 9602, number, turn))
    about = [*VALUES][(number + turn) % len(VALUES)]
    shown, values = scene(number, seed)[about], VALUES[about]
    if rng.random() < 2 / 3:
        return Asked(about, QUESTIONS[about][int(rng.integers(len(QUESTIONS[about])))], shown)
    if rng.random() < 0.5:
        return Asked(about, CLAIMS[about].format(shown), "yes")
    others = [value for value in values if value != shown]
    return Asked(about, CLAIMS[about].format(others[int(rng.integers(len(others)))]), "no")


def images(samples: int) -> dict[str, range]:
    """Numbers of the images of train (for so many questions), dev and test."""
    train = max(2, -(-samples // PER_IMAGE))
    dev = max(1, -(-train // 5))
    return {"train": range(train), "dev": range(train, train + dev), "test": range(train + dev, train + 2 * dev)}


def held(shown: Mapping[str, str]) -> np.ndarray:
    """(11,) bool: which of all values a scene has."""
    return np.array([shown[about] == value for about, values in VALUES.items() for value in values])


def write_features(folder: Path, name: str, number: int, seed: int) -> None:
    """`<name>.h5` with the array `<name>/features`, (49, 2048) float32, as published.

    Raises:
        UnavailableError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise UnavailableError("h5py is not installed.", hint='pip install "adaptkit[hdf5]"') from None
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng((seed, 9603, number))
    with h5py.File(folder / f"{name}.h5", "w") as file:
        file.create_dataset(f"{name}/features", data=vectors(held(scene(number, seed)), WIDTH, GRID, rng))


def write_picture(path: Path, number: int, seed: int, size: int = 64) -> None:
    """The scene as a picture: up to four things on a grey ground, in the format of the name."""
    from PIL import Image

    rng = np.random.default_rng((seed, 9604, number))
    shown = scene(number, seed)
    values = np.full((size, size, 3), rng.integers(90, 160), dtype=float)
    half = size // 2
    for place in range(int(shown["number"])):
        top, left = divmod(place, 2)
        things = thing(shown["shape"], half)
        values[top * half : (top + 1) * half, left * half : (left + 1) * half][things] = COLOURS[shown["color"]]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(values + rng.normal(0, 6, values.shape), 0, 255).astype(np.uint8)).save(path)


def thing(shape: str, size: int) -> np.ndarray:
    """(size, size) bool: where a thing of this shape is."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    inside = {"circle": x**2 + y**2 < 0.12, "square": np.maximum(abs(x), abs(y)) < 0.32}
    return inside.get(shape, (y < 0.35) & (y > 4 * abs(x) - 0.4) & (abs(x) < 0.4))
