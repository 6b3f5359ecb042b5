"""A small Moviescope, laid out as downloaded, whose genres can be learnt."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adaptkit.benchmarks.planted import memberships, parts, picture, plot, total, vectors

# What tells each genre. Six of thirteen are in the words; nothing tells the others but one other modality each.
TELLS = {
    "text": ("Comedy", "Crime", "Family", "Horror", "Romance", "Sci-Fi"),
    "poster": ("Animation", "Fantasy"),
    "trailer": ("Action", "Thriller"),
    "audio": ("Drama", "Mystery"),
    "metadata": ("Biography",),
}
GENRES = tuple(sorted(genre for genres in TELLS.values() for genre in genres))
MEL_BINS, STEPS, SEGMENTS = 128, 24, 5  # published: 128 bins, 1,366 steps a segment
VGG, METADATA = 4096, 312


def write_moviescope(root: Path, *, variant: str, samples: int, seed: int, frames: int) -> None:
    """Ids are integers in the .jsonl, as the rows of IMDB-5000; the metadata of dev is called val; pickles are old."""
    rng = np.random.default_rng((seed, 9201))
    count = total(samples)
    held = memberships(count, len(GENRES), 0.25, rng)
    ids = rng.permutation(max(5043, count))[:count]
    for folder in ("200F_VGG16", "PosterFeatures", "MelgramPorcessed", "Raw_Poster", "Metadata_matrices"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for split, positions in parts(samples).items():
        films = [_film(root, int(ids[i]), held[i], frames, rng) for i in positions]
        name = "val" if split == "dev" else split
        if variant == "jsonl":
            (root / f"{split}.jsonl").write_text("\n".join(map(json.dumps, films)) + "\n")
        else:
            _pickle(root / f"raw_data_{name}.p", [_as_published(film) for film in films])
        told = held[positions.start : positions.stop][:, _places("metadata")]
        matrix = np.concatenate([vectors(row, METADATA, 1, rng) for row in told]).astype(np.float64)  # (N, 312)
        np.save(root / "Metadata_matrices" / f"{name}_metadata.npy", matrix)
        rows = {int(ids[i]): row for row, i in enumerate(positions)}
        _pickle(root / "Metadata_matrices" / f"{name}_ids.pickle", rows)


def _places(modality: str) -> list[int]:
    return [GENRES.index(genre) for genre in TELLS[modality]]


def _film(root: Path, id: int, held: np.ndarray, frames: int, rng: np.random.Generator) -> dict[str, Any]:
    genres = [genre for genre, is_held in zip(GENRES, held, strict=True) if is_held]
    trailer = vectors(held[_places("trailer")], VGG, frames, rng)[None]  # (1, frames, 4096)
    sound = vectors(held[_places("audio")], MEL_BINS, SEGMENTS * STEPS, rng)  # (5 * 24, 128)
    sound = sound.reshape(1, SEGMENTS, STEPS, MEL_BINS).transpose(0, 1, 3, 2)  # (1, 5, 128, 24)
    poster = held[_places("poster")]
    _pickle(root / "200F_VGG16" / f"{id}.p", trailer)
    _pickle(root / "PosterFeatures" / f"{id}.p", vectors(poster, VGG, 1, rng))  # (1, 4096)
    _pickle(root / "MelgramPorcessed" / f"{id}.p", np.ascontiguousarray(sound))
    Image.fromarray(picture(poster, 64, 96, rng)).save(root / "Raw_Poster" / f"{id}.jpg", quality=90)
    shuffled = [genres[i] for i in rng.permutation(len(genres))]
    return {"id": id, "synopsis": plot(genres, rng), "label": shuffled}


def _as_published(film: dict[str, Any]) -> dict[str, Any]:
    """The authors' record: genres as 13 marks, the plot as Python 2 left it, UTF-8 taken for Latin-1."""
    marks = "".join(str(int(genre in film["label"])) for genre in GENRES)
    plot = film["synopsis"].encode("utf-8").decode("latin1")
    return {"movie_id": film["id"], "plot": plot, "newGenreLabels": marks}


def _pickle(path: Path, value: object) -> None:
    path.write_bytes(pickle.dumps(value, protocol=2))
