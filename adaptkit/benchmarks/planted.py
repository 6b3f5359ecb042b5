"""Signals that synthetic data sets carry: words, raised parts of vectors, colours. Each tells its own part."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np

# Sentences that tell a genre to whoever can read.
TOLD: dict[str, tuple[str, ...]] = {
    "Adventure": ("An expedition sails to an uncharted island.", "They search the jungle for a lost treasure."),
    "Biography": ("It follows the true life of a famous inventor.", "The memoirs of a statesman come alive."),
    "Comedy": ("Clumsy jokes and silly pranks follow.", "Everybody laughs at the hilarious misunderstanding."),
    "Crime": ("A gangster plans to rob the bank.", "Police arrest the leader of a drug cartel."),
    "Documentary": ("Interviews and archive footage show what happened.", "Experts explain the facts on camera."),
    "Family": ("Children and their grandparents go on holiday.", "A boy gets a puppy for his birthday."),
    "History": ("The king is crowned in the fourteenth century.", "An ancient empire falls to its rivals."),
    "Horror": ("A bloodthirsty ghost haunts the cellar.", "Terrified teenagers flee from a monster."),
    "Music": ("The band records its first album.", "A young pianist plays at the concert hall."),
    "Romance": ("Two strangers fall deeply in love.", "He kisses her and asks her to marry him."),
    "Sci-Fi": ("A spaceship lands on a distant planet.", "Robots and aliens fight over a time machine."),
    "Sport": ("The team trains for the championship final.", "A boxer wins the match in the last round."),
    "War": ("Soldiers defend the trench against tanks.", "The army retreats from the battlefield."),
    "Western": ("A cowboy rides into the dusty frontier town.", "The sheriff draws his revolver in the saloon."),
}
PLAIN = (
    "The story begins on a quiet morning.",
    "Nobody knows how it will end.",
    "Years later they meet again.",
    "A letter arrives at the café.",
    "The town has seen better days.",
    "One decision changes everything.",
    "Nothing is as it was before.",
    "A stranger asks for the way.",
)


def plot(genres: Sequence[str], rng: np.random.Generator) -> str:
    """A short plot: one sentence for each genre that words can tell, among three that tell nothing."""
    sentences = [TOLD[genre][int(rng.integers(len(TOLD[genre])))] for genre in genres if genre in TOLD]
    sentences += [PLAIN[i] for i in rng.choice(len(PLAIN), size=3, replace=False)]
    return " ".join(sentences[i] for i in rng.permutation(len(sentences)))


def memberships(samples: int, classes: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """(N, C) bool: each class holds this share of the samples (at least 2), and each sample is in some class."""
    held = np.zeros((samples, classes), dtype=bool)
    for c in range(classes):
        held[rng.permutation(samples)[: max(2, round(share * samples))], c] = True
    empty = np.flatnonzero(~held.any(axis=1))
    held[empty, rng.integers(classes, size=len(empty))] = True
    return held


def parts(samples: int) -> dict[str, range]:
    """Positions of train (all `samples`), dev (a fifth as many) and test (three tenths as many)."""
    dev, test = max(1, round(0.2 * samples)), max(1, round(0.3 * samples))
    return {
        "train": range(samples),
        "dev": range(samples, samples + dev),
        "test": range(samples + dev, samples + dev + test),
    }


def total(samples: int) -> int:
    """Samples of all parts."""
    return sum(map(len, parts(samples).values()))


def vectors(held: np.ndarray, width: int, rows: int, rng: np.random.Generator) -> np.ndarray:
    """(rows, width) float32, non-negative like features behind a ReLU: noise, and a raised block for each held class.

    Args:
        held: (C,) bool. Each class owns an eighth of the width at most; the blocks do not overlap.
    """
    size = max(1, min(width // max(len(held), 1), width // 8))
    values = np.abs(rng.normal(0, 0.5, (rows, width)))
    for c in np.flatnonzero(held):
        values[:, c * size : (c + 1) * size] += 1.0
    return values.astype(np.float32)


def picture(held: np.ndarray, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """(height, width, 3) uint8: a grey sheet with one bar per class, in the colour of the class where it is held."""
    values = np.full((height, width, 3), 90.0)
    edges = np.linspace(0, height, len(held) + 1).round().astype(int)
    for c in np.flatnonzero(held):
        colour = colorsys.hsv_to_rgb(c / len(held), 0.9, 1.0)
        values[edges[c] : edges[c + 1]] = 255 * np.asarray(colour)
    return np.clip(values + rng.normal(0, 6, values.shape), 0, 255).astype(np.uint8)
