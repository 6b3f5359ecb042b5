"""Small pickles of affective computing with a signal to learn, laid out, padded and flawed like the published ones."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.benchmarks.affect.padding import MODALITIES, Layout

# By sentiment, from the worst to the best; a reader can tell them apart.
ADJECTIVES = (
    ("terrible", "awful", "horrible", "disgusting", "dreadful"),
    ("bad", "dull", "weak", "disappointing", "poor"),
    ("okay", "average", "ordinary", "usual", "acceptable"),
    ("good", "nice", "pleasant", "enjoyable", "solid"),
    ("excellent", "wonderful", "brilliant", "fantastic", "amazing"),
)
SENTENCES = (
    "i thought the movie was {} the acting was {} and the ending was simply {}",
    "it was {} i mean really {} and i told all my friends how {} it was",
    "the story is {} the music is {} and the whole thing felt {}",
    "that film has {} actors some {} effects and a plot that i found {}",
)
STEP = {"sentiment": 0.6, "signal": 1.0, "noise": 0.1}
LONGEST = {"text": 50, "audio": 60, "vision": 40}  # steps of unaligned files; the published ones go to 500
WORDS = 20  # of text in aligned IEMOCAP

# N samples, L steps with padding, T without, E width, K signals


def write_sentiment(
    path: Path, layout: Layout, *, samples: int, seed: int, limit: float, further: Sequence[str] = ()
) -> None:
    """A pickle with a number in [-limit, limit] for each sample: half of its variance is in the text.

    Args:
        path: of the pickle.
        layout: of which family it is.
        samples: in the training split; a quarter of that in each of the others.
        seed: of everything.
        limit: of the scale.
        further: keys of the ratings of text, audio and vision by themselves (SIMS).
    """
    rng = np.random.default_rng([seed, 20181])
    directions = _directions(layout, dict.fromkeys(MODALITIES, 1), rng)
    content = {}
    for split, count in _counts(samples).items():
        level = rng.integers(len(ADJECTIVES), size=count)
        told = {"text": STEP["sentiment"] * (level - 2.0)}  # (N,): variance 2 * 0.36
        told |= {name: STEP["sentiment"] * rng.uniform(-1, 1, count) * 3**0.5 for name in ("audio", "vision")}
        total = told["text"] + told["audio"] + told["vision"] + rng.normal(0, STEP["noise"], count)
        sentiment = np.clip(np.round(total * 5) / 5, -3, 3) * limit / 3  # some are exactly 0
        words = [_sentence(k, rng) for k in level]
        sequences = {
            name: _sequences(told[name][:, None], directions[name], _lengths(name, layout, words, rng), rng)
            for name in MODALITIES
        }
        if layout.padding == "front":
            content[split] = _arrays(sequences, layout, rng) | {
                "labels": sentiment.astype(np.float32)[:, None, None],  # (N, 1, 1)
                "id": np.array([[f"clip{split}{i}", "0.0", f"{i}.5"] for i in range(count)], dtype="S"),  # bytes
            }
        else:
            ratings = {key: told[name] * limit / 3 for key, name in zip(further, MODALITIES, strict=False)}
            content[split] = _mmsa(sequences, words, layout, sentiment, split, rng) | {
                key: np.clip(values, -limit, limit).astype(np.float32) for key, values in ratings.items()
            }
    _dump(path, content)


def write_emotions(path: Path, layout: Layout, *, samples: int, seed: int) -> None:
    """A pickle with four binary emotions for each sample: two are in the text, one in the audio, one in the vision."""
    rng = np.random.default_rng([seed, 20082])
    places = {"text": [0, 1], "audio": [2], "vision": [3]}
    directions = _directions(layout, {name: len(own) for name, own in places.items()}, rng)
    content = {}
    for split, count in _counts(samples).items():
        held = rng.random((count, 4)) < 0.4  # (N, 4)
        words = [_sentence(2, rng) for _ in range(count)]
        sequences = {
            name: _sequences(2.0 * held[:, own] - 1, directions[name], _lengths(name, layout, words, rng), rng)
            for name, own in places.items()
        }
        labels = np.eye(2, dtype=np.float32)[held.astype(int)]  # (N, 4, 2) one-hot
        content[split] = _arrays(sequences, layout, rng, longest=WORDS) | {"labels": labels}  # no ids
    _dump(path, content)


def _counts(samples: int) -> dict[str, int]:
    return {"train": samples, "valid": max(4, samples // 4), "test": max(4, samples // 4)}


def _directions(layout: Layout, signals: Mapping[str, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Modality -> (K, E) of -1 and 1, in which each signal moves every step."""
    return {name: rng.choice((-1.0, 1.0), (k, layout.widths[name][0])) for name, k in signals.items()}


def _sentence(level: int, rng: np.random.Generator) -> str:
    frame = SENTENCES[int(rng.integers(len(SENTENCES)))]
    return frame.format(*rng.choice(ADJECTIVES[level], size=3, replace=False))


def _lengths(modality: str, layout: Layout, words: Sequence[str], rng: np.random.Generator) -> list[int]:
    """T of each sample: as many as words in the text and in aligned files, else drawn."""
    if modality == "text" or layout.aligned:
        return [len(sentence.split()) for sentence in words]
    return rng.integers(8, LONGEST[modality], size=len(words)).tolist()


def _sequences(
    told: np.ndarray, directions: np.ndarray, lengths: Sequence[int], rng: np.random.Generator
) -> list[np.ndarray]:
    """N arrays (T, E): noise around the point to which the sample's signals (N, K) move it."""
    centres = STEP["signal"] * told @ directions  # (N, E)
    return [
        (centre + rng.normal(0, 1, (length, len(centre)))).astype(np.float32)
        for centre, length in zip(centres, lengths, strict=True)
    ]


def _arrays(
    sequences: Mapping[str, Sequence[np.ndarray]], layout: Layout, rng: np.random.Generator, longest: int = 50
) -> dict[str, Any]:
    """The padded arrays in the order of MulT's pickles, with their flaws: -inf in audio, faces and texts not found."""
    steps = {name: longest if layout.aligned or name == "text" else LONGEST[name] for name in MODALITIES}
    arrays = {
        name: np.stack([_padded(sequence, steps[name], layout) for sequence in sequences[name]])
        for name in ("vision", "audio", "text")
    }
    count = len(arrays["text"])
    for i in rng.choice(count, size=max(1, count // 20), replace=False):
        arrays["audio"][i, -1 if layout.padding == "front" else 1, 0] = -np.inf
    arrays["vision"][int(rng.integers(count))] = 0
    if layout.text_decides:
        arrays["text"][int(rng.integers(count))] = 0
    return arrays


def _padded(sequence: np.ndarray, steps: int, layout: Layout) -> np.ndarray:
    """(T, E) -> (L, E); what is too long is cut."""
    sequence = sequence[:steps]
    zeros = np.zeros((steps - len(sequence), sequence.shape[1]), dtype=np.float32)
    return np.concatenate([zeros, sequence] if layout.padding == "front" else [sequence, zeros])


def _mmsa(
    sequences: Mapping[str, list[np.ndarray]],
    words: Sequence[str],
    layout: Layout,
    sentiment: np.ndarray,
    split: str,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The keys of MMSA's pickles; with BERT's first and last token, where aligned audio and vision are zero."""
    framed = dict(sequences)
    framed["text"] = [np.concatenate([own[:1], own, own[-1:]]) for own in sequences["text"]]
    for name in ("audio", "vision") if layout.aligned else ():
        framed[name] = [np.pad(own, ((1, 1), (0, 0))) for own in sequences[name]]
    arrays = _arrays(framed, layout, rng, longest=39 if "39" in layout.places[0] else 50)
    tokens = np.zeros((len(words), 3, arrays["text"].shape[1]), dtype=np.float32)  # ids, mask, segments; as float
    for row, sentence in zip(tokens, words, strict=True):
        ids = [101, *(1000 + sum(map(ord, word)) for word in sentence.split()), 102]
        row[0, : len(ids)], row[1, : len(ids)] = ids, 1
    lengths = (
        {}
        if layout.aligned
        else {f"{name}_lengths": [len(own) for own in sequences[name]] for name in ("audio", "vision")}
    )
    return {
        "raw_text": list(words),
        **{name: arrays[name] for name in ("audio", "vision")},
        "id": [f"video{split}{i // 3}$_${i % 3}" for i in range(len(words))],
        "text": arrays["text"],
        "text_bert": tokens,
        **lengths,
        "annotations": ["Neutral" if y == 0 else "Positive" if y > 0 else "Negative" for y in sentiment],
        "classification_labels": np.sign(sentiment) + 1,
        "regression_labels": sentiment.astype(np.float32),  # (N,)
    }


def _dump(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(dict(content), protocol=4))
