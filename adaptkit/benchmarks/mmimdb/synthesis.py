"""A small MM-IMDb in each of its forms, whose genres can be learnt: some from words, some from posters."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adaptkit.benchmarks.planted import TOLD, memberships, parts, picture, plot, total, vectors
from adaptkit.errors import UnavailableError

READ = (
    "Adventure",
    "Biography",
    "Comedy",
    "Crime",
    "Family",
    "History",
    "Horror",
    "Music",
    "Romance",
    "Sci-Fi",
    "Sport",
    "War",
)
SEEN = (
    "Action",
    "Animation",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Musical",
    "Mystery",
    "Short",
    "Thriller",
    "Western",
)
GENRES = (*READ, *SEEN)  # 23
VGG, WORD2VEC, GRAMS = 4096, 300, 50
HEIGHT, WIDTH = 256, 160


def _films(samples: int, seed: int) -> tuple[list[str], np.ndarray, list[str], np.random.Generator]:
    """IMDb numbers of seven digits, (N, 23) genres, plots."""
    rng = np.random.default_rng((seed, 9401))
    count = total(samples)
    held = memberships(count, len(GENRES), 0.2, rng)
    ids = [f"{number:07d}" for number in rng.choice(3_000_000, size=count, replace=False)]
    plots = [plot([g for g in _names(row) if g in READ and g in TOLD], rng) for row in held]
    return ids, held, plots, rng


def _names(row: np.ndarray) -> list[str]:
    return [genre for genre, is_held in zip(GENRES, row, strict=True) if is_held]


def write_raw(root: Path, *, samples: int, seed: int) -> None:
    """mmimdb/split.json and mmimdb/dataset; a few films of train also have the rare genre News."""
    ids, held, plots, rng = _films(samples, seed)
    _write_dataset(root, ids, held, plots, rng)
    split = {part: [ids[i] for i in positions] for part, positions in parts(samples).items()}
    (root / "mmimdb" / "split.json").write_text(json.dumps(split))


def _write_dataset(root: Path, ids: list[str], held: np.ndarray, plots: list[str], rng: np.random.Generator) -> None:
    folder = root / "mmimdb" / "dataset"
    folder.mkdir(parents=True, exist_ok=True)
    for i, id in enumerate(ids):
        genres = _names(held[i]) + (["News"] if i == 0 else [])
        outline = plots[i].partition(".")[0] + "."  # a shorter plot: the longest one counts
        film = {"title": f"Film {i}", "plot": [outline, plots[i]], "genres": genres, "cover url": "", "year": 1990}
        (folder / f"{id}.json").write_text(json.dumps(film))
        poster = picture(held[i, len(READ) :], WIDTH // 2, HEIGHT // 2, rng)
        Image.fromarray(poster).save(folder / f"{id}.jpeg", quality=90)


def write_mmbt(root: Path, *, samples: int, seed: int) -> None:
    """The .jsonl files that MMBT's script makes, beside the pictures; one film of train still has News."""
    ids, held, plots, rng = _films(samples, seed)
    _write_dataset(root, ids, held, plots, rng)
    for part, positions in parts(samples).items():
        lines = [
            {
                "id": ids[i],
                "text": plots[i],
                "image": f"mmimdb/dataset/{ids[i]}.jpeg",
                "label": _names(held[i]) + (["News"] if i == 0 else []),
            }
            for i in positions
        ]
        (root / f"{part}.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")


def write_hdf5(root: Path, *, samples: int, seed: int) -> None:
    """multimodal_imdb.hdf5 (compressed, unlike the published one) and metadata.npy.

    Raises:
        UnavailableError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise UnavailableError("h5py is not installed.", hint='pip install "adaptkit[hdf5]"') from None
    ids, held, plots, rng = _films(samples, seed)
    count = len(ids)
    tokens = [re.findall(r"\w+|[^\w\s]", text.lower()) for text in plots]
    words = ["_UNK_", *sorted({word for line in tokens for word in line})]
    numbers = {word: number for number, word in enumerate(words)}
    lookup = rng.normal(0, 0.3, (len(words), WORD2VEC)).astype(np.float32)
    root.mkdir(parents=True, exist_ok=True)
    metadata = {"ix_to_word": dict(enumerate(words)), "word_to_ix": numbers, "vocab_size": len(words), "lookup": lookup}
    np.save(root / "metadata.npy", np.array(metadata, dtype=object), allow_pickle=True)
    with h5py.File(root / "multimodal_imdb.hdf5", "w") as file:
        packed = {"compression": "gzip", "compression_opts": 1}
        mean = np.stack([lookup[[numbers[word] for word in line]].mean(axis=0) for line in tokens])
        file.create_dataset("features", data=mean, dtype="float32")
        seen = held[:, len(READ) :]
        file.create_dataset("vgg_features", data=np.concatenate([vectors(row, VGG, 1, rng) for row in seen]))
        for name in ("three_grams", "word_grams"):
            file.create_dataset(name, data=np.zeros((count, GRAMS), np.float32), **packed)
        images = file.create_dataset(
            "images", (count, 3, HEIGHT, WIDTH), dtype="int32", chunks=(1, 3, HEIGHT, WIDTH), **packed
        )
        for i, row in enumerate(seen):
            small = picture(row, WIDTH // 8, HEIGHT // 8, rng)
            whole = small.repeat(8, axis=0).repeat(8, axis=1)[..., ::-1]  # (256, 160, 3), blue first
            images[i] = (whole - np.array([103.939, 116.779, 123.68])).transpose(2, 0, 1).astype("int32")
        sequences = file.create_dataset("sequences", (count,), dtype=h5py.vlen_dtype(np.dtype("int32")))
        for i, line in enumerate(tokens):
            sequences[i] = np.array([numbers[word] for word in line], dtype="int32")
        genres = file.create_dataset("genres", data=held.astype("int32"))
        genres.attrs["target_names"] = json.dumps(GENRES)
        file.create_dataset("imdb_ids", data=np.array(ids, dtype="S7"))
        file.attrs["split"] = _split_array(samples, list(file), h5py.ref_dtype, h5py.Reference())


def _split_array(samples: int, sources: list[str], reference: np.dtype, nothing: Any) -> np.ndarray:
    """Splits as Fuel stores them: a row for each split and each source, references to index lists that are null."""
    names = [("split", "S5"), ("source", "S16"), ("start", "i8"), ("stop", "i8")]
    table = np.zeros(3 * len(sources), dtype=[*names, ("indices", reference), ("available", "?"), ("comment", "S1")])
    positions = [(part, source, rows) for part, rows in parts(samples).items() for source in sources]
    for entry, (part, source, rows) in zip(table, positions, strict=True):
        entry["split"], entry["source"] = part.encode(), source.encode()
        entry["start"], entry["stop"], entry["available"], entry["indices"] = rows.start, rows.stop, True, nothing
    return table
