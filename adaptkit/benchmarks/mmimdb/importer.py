"""MM-IMDb: plots and posters of 25,959 films, 23 genres (Arevalo et al. 2017), in its three published forms."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptkit.benchmarks.benchmark import Benchmark, register
from adaptkit.benchmarks.mmimdb.hdf5 import read_hdf5
from adaptkit.benchmarks.mmimdb.synthesis import write_hdf5, write_mmbt, write_raw
from adaptkit.benchmarks.sources import (
    MISSING_ALLOWED,
    CheckedFiles,
    Missing,
    file_name,
    json_lines,
    named_path,
    picture_fault,
    read_json,
    strings,
)
from adaptkit.data.store_writer import StoreWriter
from adaptkit.errors import DataError

SPLITS = {"train": "train", "dev": "validation", "test": "test"}
GENRES = 23  # the most frequent ones, as the authors keep them
HDF5 = "multimodal_imdb.hdf5"


@register("mmimdb")
class MMIMDb(Benchmark):
    """MM-IMDb: 25,959 films with plot and poster; 23 genres.

    Genres from plot and poster: vectors (hdf5), files (raw), or what MMBT's script makes of the files (mmbt).
    """

    name = "mmimdb"
    title = "MM-IMDb"
    description = "Genres of films from plot and poster."
    url = "https://archive.org/download/mmimdb"
    task = 'kind = "multilabel", column = "genres", monitor = "f1_micro"'
    columns: Mapping[str, str] = {
        "plot": "text: the plot (hdf5: rebuilt from word numbers, lower case)",
        "poster": "path of the poster",
        "vgg": "features (4096,): VGG16 of the poster (hdf5)",
        "word2vec": "features (300,): mean of the words' vectors (hdf5)",
        "genres": "labels: 23 genres",
    }
    variants: Mapping[str, str] = {
        "raw": "mmimdb/split.json and mmimdb/dataset/<id>.json with <id>.jpeg (mmimdb.tar.gz)",
        "mmbt": "train, dev and test.jsonl with id, text, label, and image or img",
        "hdf5": "multimodal_imdb.hdf5 and metadata.npy",
    }

    def find(self, root: Path) -> str:
        """`hdf5`, `mmbt` or `raw`; MMBT's .jsonl files go before the raw files they were made of."""
        hdf5 = (root / HDF5).is_file()
        files = "mmbt" if _is_mmbt(root) else "raw" if _raw_folder(root) else ""
        if hdf5 and files:
            raise DataError(
                f"both {HDF5} and the {files} files lie here.",
                where=str(root),
                hint=f"Say which: --variant hdf5 or --variant {files}.",
            )
        if hdf5 or files:
            return files or "hdf5"
        found = ", ".join(sorted(entry.name for entry in root.iterdir())[:8]) if root.is_dir() else "no such folder"
        raise DataError(
            f"{root} is not MM-IMDb: {HDF5}, mmimdb/split.json or train.jsonl are expected there (found: {found})."
        )

    def read(
        self,
        root: Path,
        writer: StoreWriter,
        variant: str,
        *,
        images: bool = False,
        missing: float = MISSING_ALLOWED,
    ) -> None:
        """Reads one variant.

        Args:
            missing: raw and mmbt only: share of the posters, and of the films' .json files, that may be missing.
            images: hdf5 only: also write the posters in it as .png files into the folder `posters` below the root.
        """
        rule = Missing(missing)
        if variant == "hdf5":
            read_hdf5(root, root / HDF5, writer, self.columns, images=images)
            return
        for name, kind in (("plot", "text"), ("poster", "path"), ("genres", "labels")):
            writer.column(name, kind, description=self.columns[name])
        posters = CheckedFiles(root, "poster", writer, picture_fault, missing=rule)
        if variant == "mmbt":
            _read_mmbt(root, writer, posters)
        else:
            _read_raw(root, writer, posters, rule)
        posters.finish()

    def synth(self, root: Path, *, variant: str = "raw", samples: int = 240, seed: int = 0) -> None:
        """12 of the 23 genres can be read from the plot, the other 11 from the poster or its vector alone."""
        {"raw": write_raw, "mmbt": write_mmbt, "hdf5": write_hdf5}[variant](root, samples=samples, seed=seed)


def _is_mmbt(root: Path) -> bool:
    return all((root / f"{split}.jsonl").is_file() for split in SPLITS)


def _raw_folder(root: Path) -> Path | None:
    found = [folder for folder in (root, root / "mmimdb") if (folder / "split.json").is_file()]
    return found[0] if found else None


def _read_raw(root: Path, writer: StoreWriter, posters: CheckedFiles, missing: Missing) -> None:
    """The longest plot of each film; genres beyond the 23 most frequent are left out, as the authors do."""
    folder = _raw_folder(root)
    if folder is None:
        raise DataError(f"split.json is neither in {root} nor in {root / 'mmimdb'}.")
    listed = read_json(folder / "split.json")
    if not isinstance(listed, dict) or not all(isinstance(listed.get(split), list) for split in SPLITS):
        raise DataError("an object with lists train, dev and test is expected.", where="split.json")
    writer.source(folder / "split.json")
    writer.source(folder / "dataset")
    films = {source: [file_name(id, "split.json") for id in listed[source]] for source in SPLITS}
    every = [id for ids in films.values() for id in dict.fromkeys(ids)]
    lost = sum(not (folder / "dataset" / f"{id}.json").is_file() for id in every)
    missing.check(lost, len(every), "films of split.json", str(folder / "dataset"))
    counts: Counter[str] = Counter()
    for ids in films.values():
        for id in ids:
            counts.update(_genres(folder, id))
    kept = {genre for genre, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:GENRES]}
    for genre in sorted(counts.keys() - kept):
        writer.note(f"the genre {genre} is left out: it is not one of the {GENRES} most frequent", counts[genre])
    for source, split in SPLITS.items():
        for id in dict.fromkeys(films[source]):
            film = _film(folder, id)
            genres = [genre for genre in _genres(folder, id) if genre in kept]
            if not film or not genres:
                writer.note("films without a readable .json or without one of the genres are dropped")
                continue
            plot = longest(film.get("plot"))
            if plot is None:
                writer.note("films without a plot")
            poster = posters.path(folder / "dataset" / f"{id}.jpeg")
            writer.add(split, id, {"plot": plot, "poster": poster, "genres": genres})
    writer.classes["genres"] = sorted(kept)


def _film(folder: Path, id: str) -> dict[str, Any]:
    path = folder / "dataset" / f"{id}.json"
    if not path.is_file():
        return {}
    film = read_json(path)
    if not isinstance(film, dict):
        raise DataError(f"this is a JSON {type(film).__name__}, not an object.", where=path.name)
    return film


def _genres(folder: Path, id: str) -> list[str]:
    genres = _film(folder, id).get("genres")
    return [] if genres is None else strings(genres, "genres", f"{id}.json")


def longest(plots: Any) -> str | None:
    """The longest of a film's plots, the first among equals; None where there is none."""
    found = [plots] if isinstance(plots, str) else plots if isinstance(plots, list) else []
    texts = [plot.strip() for plot in found if isinstance(plot, str) and plot.strip()]
    return max(texts, key=len) if texts else None


def _read_mmbt(root: Path, writer: StoreWriter, posters: CheckedFiles) -> None:
    """As MMBT's script filters: no film with News, and in dev and test none with a genre that train lacks."""
    known: set[str] = set()
    for source, split in SPLITS.items():
        path = root / f"{source}.jsonl"
        writer.source(path)
        for where, film in json_lines(path):
            genres, text = strings(film.get("label"), "label", where), film.get("text")
            if "News" in genres:
                writer.note("films with the genre News are dropped, as MMBT does")
                continue
            if split == "train":
                known.update(genres)
            elif not known.issuperset(genres):
                writer.note(f"films of {split} with a genre that train lacks are dropped, as MMBT does")
                continue
            if not isinstance(text, str | None):
                raise DataError(f"text is {json.dumps(text)[:60]}, not a string.", where=where)
            image = film.get("image", film.get("img"))
            poster = posters.path(named_path(root, image, where)) if image is not None else None
            id = file_name(film.get("id"), where)
            writer.add(split, id, {"plot": text or None, "poster": poster, "genres": genres})
    writer.classes["genres"] = sorted(known)
