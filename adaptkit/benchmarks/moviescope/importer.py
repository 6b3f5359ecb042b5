"""Moviescope: plots, posters, trailers, soundtracks and metadata of 5,000 films; 13 genres (Cascante-Bonilla 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from adaptkit.benchmarks.benchmark import Benchmark, register
from adaptkit.benchmarks.moviescope.films import Films
from adaptkit.benchmarks.moviescope.synthesis import GENRES, write_moviescope
from adaptkit.benchmarks.sources import MISSING_ALLOWED, Missing, file_name, json_lines, strings
from adaptkit.data.store_writer import StoreWriter
from adaptkit.data.unpickling import load_pickle
from adaptkit.errors import DataError

SPLITS = {
    "jsonl": {"train": "train", "dev": "validation", "test": "test"},
    "original": {"train": "train", "val": "validation", "test": "test"},
}
FILES = {"jsonl": "{split}.jsonl", "original": "raw_data_{split}.p"}


@register("moviescope")
class Moviescope(Benchmark):
    """Moviescope: about 5,000 films with plot, poster, trailer, audio and metadata; 13 genres.

    Splits (those of the published loaders, or of the authors) beside folders of pickles, one per film.
    """

    name = "moviescope"
    title = "Moviescope"
    description = "Genres of films from plot, poster, trailer, soundtrack and metadata."
    url = "http://paolacascante.com/research/moviescope.html"
    task = 'kind = "multilabel", column = "genres", monitor = "ap_micro"'
    columns: Mapping[str, str] = {
        "plot": "text: the synopsis",
        "poster": "features (4096,): VGG16 of the poster (PosterFeatures)",
        "trailer": "features (200, 4096): VGG16 of 200 frames (200F_VGG16)",
        "audio": "features (T, F): mel spectrogram of the first 4 segments (MelgramPorcessed, or Melspectrogram)",
        "metadata": "features (312,): budget, cast, ratings and so on (Metadata_matrices)",
        "genres": "labels: 13 genres",
        "poster_image": "path of the poster (Raw_Poster)",
    }
    variants: Mapping[str, str] = {
        "jsonl": "train.jsonl, dev.jsonl and test.jsonl of the Multimodal-Adapters code, beside the folders",
        "original": "raw_data_{train,val,test}.p of the authors, or these in `trailers`, beside the folders",
    }

    def find(self, root: Path) -> str:
        """`jsonl` or `original`.

        Raises:
            DataError: the splits of neither lie here, or of both.
        """
        found = [variant for variant in FILES if _folders(root, variant)]
        if len(found) > 1:
            raise DataError(
                "both the .jsonl files and the pickled splits lie here.",
                where=str(root),
                hint="Say which: --variant jsonl or --variant original.",
            )
        return found[0] if found else _absent(root, *FILES)

    def read(
        self,
        root: Path,
        writer: StoreWriter,
        variant: str,
        *,
        mean: bool = False,
        missing: float = MISSING_ALLOWED,
    ) -> None:
        """Film by film: nothing but the current film and the metadata matrices is in memory.

        Args:
            mean: store the mean over the frames and over the time steps instead of all of them, which is all that
                a model with `pool = "mean"` reads, in a hundredth of the space.
            missing: share of the films that may be without a file in a folder that is there.
        """
        folder = next(iter(_folders(root, variant)), None) or _absent(root, variant)
        beside = root if folder == root / "trailers" else folder
        films = Films(root, beside, SPLITS[variant], mean, writer, Missing(missing))
        writer.column("plot", "text", description=self.columns["plot"])
        for column, width in films.widths.items():
            writer.column(column, "features", width=width, description=self.columns[column])
        writer.column("genres", "labels", description=self.columns["genres"])
        if films.posters:
            writer.column("poster_image", "path", description=self.columns["poster_image"])
        seen: dict[str, str] = {}
        genres: dict[str, set[str]] = {split: set() for split in SPLITS[variant].values()}
        for source, split in SPLITS[variant].items():
            path = folder / FILES[variant].format(split=source)
            writer.source(path)
            for where, id, text, labels in _lines(path) if variant == "jsonl" else _records(path, writer):
                if _is_new(id, split, seen, writer):
                    genres[split].update(labels)
                    writer.add(split, id, {"plot": text, "genres": labels} | films.values(source, id, where))
        films.finish(len(seen))
        for split, found in genres.items():
            for genre in sorted(found - genres["train"]):
                writer.note(f"the genre {genre} is in {split} but never in train")
        writer.classes["genres"] = sorted(set().union(*genres.values()))

    def synth(self, root: Path, *, variant: str = "jsonl", samples: int = 240, seed: int = 0, frames: int = 16) -> None:
        """Six of the genres can be read from the plot, the others from one of the other modalities alone.

        Trailers have 16 frames instead of 200 (`frames`), so that 240 films to train with (360 in all) take 165 MB.
        """
        write_moviescope(root, variant=variant, samples=samples, seed=seed, frames=frames)


def _folders(root: Path, variant: str) -> list[Path]:
    """The root and the folders in it that hold the splits."""
    names = [FILES[variant].format(split=split) for split in SPLITS[variant]]
    folders = (root, root / "moviescope", root / "trailers")
    return [folder for folder in folders if all((folder / name).is_file() for name in names)]


def _absent(root: Path, *variants: str) -> NoReturn:
    names = " or ".join(FILES[v].format(split=f"{{{','.join(SPLITS[v])}}}") for v in variants)
    found = ", ".join(sorted(entry.name for entry in root.iterdir())[:8]) if root.is_dir() else "no such folder"
    raise DataError(
        f"{root} is not Moviescope: {names} is expected there (found: {found}).",
        hint="Give the folder that holds them beside 200F_VGG16, PosterFeatures, MelgramPorcessed.",
    )


def _is_new(id: str, split: str, seen: dict[str, str], writer: StoreWriter) -> bool:
    if id in seen:
        writer.note(f"films of {seen[id]} that come again in {split}: the first is kept")
        return False
    seen[id] = split
    return True


def _lines(path: Path) -> Iterator[tuple[str, str, str | None, list[str]]]:
    """(place, id, plot, genres) of each film of a .jsonl file."""
    for where, film in json_lines(path):
        plot, labels = film.get("synopsis", film.get("text")), strings(film.get("label"), "label", where)
        yield where, file_name(film.get("id"), where), _text(plot, "synopsis", where), labels


def _records(path: Path, writer: StoreWriter) -> Iterator[tuple[str, str, str | None, list[str]]]:
    """(place, id, plot, genres) of each film of a pickled split: dicts with movie_id, plot and newGenreLabels.

    The strings are those of Python 2, bytes in UTF-8 that pickle reads as Latin-1: mended where that is so.
    """
    films = load_pickle(path)
    if not isinstance(films, list):
        raise DataError(f"a list of films is expected, this is a {type(films).__name__}.", where=path.name)
    for number, film in enumerate(films):
        where = f"{path.name}, film {number}"
        if not isinstance(film, dict) or not film.keys() >= {"movie_id", "plot", "newGenreLabels"}:
            raise DataError("a dict with movie_id, plot and newGenreLabels is expected.", where=where)
        id = film["movie_id"].item() if isinstance(film["movie_id"], np.generic) else film["movie_id"]
        plot = _text(film["plot"], "plot", where)
        mended = _utf8(plot)
        if mended != plot:
            writer.note("plots in UTF-8 that had been read as Latin-1 are mended")
        yield where, file_name(id, where), mended, _genres(film["newGenreLabels"], where)


def _utf8(text: str | None) -> str | None:
    try:
        return text.encode("latin1").decode("utf-8") if text else text
    except UnicodeError:
        return text


def _genres(marks: Any, where: str) -> list[str]:
    """ "0100000000001" -> the second and the last of the 13 genres in alphabetical order."""
    held = [str(mark) for mark in marks] if isinstance(marks, str | list | tuple | np.ndarray) else []
    if len(held) != len(GENRES) or not set(held) <= {"0", "1"}:
        raise DataError(f"newGenreLabels is {str(marks)[:60]!r}, not 13 marks 0 or 1.", where=where)
    return [genre for genre, mark in zip(GENRES, held, strict=True) if mark == "1"]


def _text(plot: Any, name: str, where: str) -> str | None:
    if plot is not None and not isinstance(plot, str):
        raise DataError(f"the {name} is a {type(plot).__name__}, not a string.", where=where)
    return plot.strip() or None if plot else None
