"""What lies beside the splits of Moviescope: pickled vectors film by film, posters, and metadata matrices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.benchmarks.sources import CheckedFiles, Missing, file_name, finite, picture_fault
from adaptkit.data.store_writer import StoreWriter
from adaptkit.data.unpickling import load_array, load_pickle
from adaptkit.errors import DataError

FRAMES = 200  # of a trailer; the published loader stacks them without padding
SEGMENTS = 4  # of the soundtrack, as the published loader takes them
BINS = 96  # of the other form of the soundtrack

# T frames or time steps, E width, C segments, F mel bins


@dataclass(frozen=True, slots=True)
class _Pickled:
    """A folder with one pickled array per film."""

    folder: str
    column: str
    shape: str
    read: Callable[[np.ndarray], np.ndarray | None]  # to (T, E) or (E,); None: not this shape


def _squeezed(array: np.ndarray, dimensions: int) -> np.ndarray:
    """Without leading axes of length 1, as `squeeze(0)`, down to this number of dimensions."""
    while array.ndim > dimensions and array.shape[0] == 1:
        array = array[0]
    return array


def _frames(array: np.ndarray) -> np.ndarray | None:
    array = _squeezed(array, 2)  # (1, T, E) -> (T, E)
    return array if array.ndim == 2 else None


def _vector(array: np.ndarray) -> np.ndarray | None:
    array = _squeezed(array, 1)  # (1, E) -> (E,)
    return array if array.ndim == 1 else None


def _melgram(array: np.ndarray) -> np.ndarray | None:
    """(1, C, F, T) -> (4T, F): the first four segments one after another."""
    array = _squeezed(array, 3)
    if array.ndim == 2:  # one segment, squeezed already
        array = array[None]
    if array.ndim != 3:
        return None
    return np.concatenate(list(array[:SEGMENTS]), axis=1).T


def _spectrogram(array: np.ndarray) -> np.ndarray | None:
    """(96, T) -> (T, 96)."""
    array = _squeezed(array, 2)
    if array.ndim != 2 or BINS not in array.shape:
        return None
    return array.T if array.shape[0] == BINS else array


PICKLED = (
    _Pickled("200F_VGG16", "trailer", "(1, 200, 4096)", _frames),
    _Pickled("PosterFeatures", "poster", "(1, 4096)", _vector),
    _Pickled("MelgramPorcessed", "audio", "(1, segments, mel bins, time)", _melgram),  # spelt like this
    _Pickled("Melspectrogram", "audio", "(96, time)", _spectrogram),  # where the other is not there
)


def _array(kind: _Pickled, path: Path) -> np.ndarray:
    array = load_pickle(path)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise DataError(f"{path} holds a {type(array).__name__}, not an array of numbers.", where=path.name)
    values = kind.read(array)
    if values is None or not values.size:
        raise DataError(f"{path} has shape {array.shape}, not {kind.shape}.", where=path.name)
    return values


def _width(kind: _Pickled, folder: Path) -> int:
    """E of the first file of the folder; all others must have it too."""
    first = min((folder / kind.folder).glob("*.p"), default=None)
    if first is None:
        raise DataError(f"{folder / kind.folder} has no .p files.", where=kind.folder)
    return _array(kind, first).shape[-1]


class Films:
    """The modalities of the films of one download.

    Args:
        root: folder that paths are relative to.
        folder: that holds the others.
        sources: names of the splits, as the files have them.
        mean: store means over time.
        writer: for the audit.
        missing: how many files may be.
    """

    def __init__(
        self, root: Path, folder: Path, sources: Iterable[str], mean: bool, writer: StoreWriter, missing: Missing
    ) -> None:
        self.folder, self.mean, self.writer, self.missing = folder, mean, writer, missing
        self.lost: Counter[str] = Counter()
        there = {kind.column: kind for kind in reversed(PICKLED) if (folder / kind.folder).is_dir()}
        self.pickled = list(there.values())[::-1]
        self.widths = {kind.column: _width(kind, folder) for kind in self.pickled}
        self.posters = None
        if (folder / "Raw_Poster").is_dir():
            self.posters = CheckedFiles(root, "poster_image", writer, picture_fault, missing=missing)
        self.tables: dict[str, _Metadata] = {}
        if (folder / "Metadata_matrices").is_dir():
            self.tables = {source: _Metadata(folder, source, writer) for source in sources}
            self.widths["metadata"] = self.tables["train"].width
        for kind in self.pickled:
            writer.source(folder / kind.folder)

    def values(self, source: str, id: str, where: str) -> dict[str, Any]:
        """The modalities of one film of this source split."""
        values: dict[str, Any] = {kind.column: self._features(kind, id) for kind in self.pickled}
        if self.tables:
            values["metadata"] = self.tables[source].row(id, where)
            self.lost["Metadata_matrices"] += values["metadata"] is None
        if self.posters:
            values["poster_image"] = self.posters.path(self.folder / "Raw_Poster" / f"{id}.jpg")
        return values

    def _features(self, kind: _Pickled, id: str) -> np.ndarray | None:
        path = self.folder / kind.folder / f"{id}.p"
        if not path.is_file():
            self.writer.note(f"{kind.column}: {kind.folder}/<id>.p is missing, the modality is absent")
            self.lost[kind.folder] += 1
            return None
        values = _array(kind, path)
        width = self.widths[kind.column]
        if values.shape[-1] != width:
            raise DataError(f"{path} has vectors of {values.shape[-1]}, the other films of {width}.", where=path.name)
        if kind.column == "trailer" and len(values) != FRAMES:
            self.writer.note(f"trailer: films with other than {FRAMES} frames")
        if self.mean and values.ndim == 2:
            self.writer.note(f"{kind.column}: stored as the mean over time")
            return finite(values, kind.column, self.writer).mean(axis=0)
        return values

    def finish(self, films: int) -> None:
        """Raise DataError where too many of so many films are without a file in one of the folders."""
        for name, lost in self.lost.items():
            self.missing.check(lost, films, f"films' files in {name}", str(self.folder / name))
        if self.posters:
            self.posters.finish()


class _Metadata:
    """Rows of one split's matrix by film; the files of `dev` are called `val`."""

    def __init__(self, folder: Path, split: str, writer: StoreWriter) -> None:
        name = "val" if split == "dev" else split
        self.writer = writer
        matrix, ids = (folder / "Metadata_matrices" / f"{name}{end}" for end in ("_metadata.npy", "_ids.pickle"))
        for path in (matrix, ids):
            if not path.is_file():
                raise DataError(f"the file {path} does not exist.", where=path.name)
            writer.source(path)
        self.values, rows = load_array(matrix), load_pickle(ids)
        if self.values.ndim != 2 or self.values.dtype.kind not in "fiub" or not isinstance(rows, dict):
            raise DataError(
                f"{matrix.parent} holds an array of shape {self.values.shape} and a {type(rows).__name__} for {name}; "
                "[films, 312] and a dict from film to row are expected."
            )
        self.width = int(self.values.shape[1])
        self.rows = {file_name(_plain(id), ids.name): _plain(row) for id, row in rows.items()}

    def row(self, id: str, where: str) -> np.ndarray | None:
        row = self.rows.get(id)
        if row is None:
            self.writer.note("metadata: films without a row, the modality is absent")
            return None
        if not isinstance(row, int) or not 0 <= row < len(self.values):
            raise DataError(f"metadata: row {row!r} of film {id} is not one of {len(self.values)}.", where=where)
        return np.asarray(self.values[row], dtype=np.float32)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
