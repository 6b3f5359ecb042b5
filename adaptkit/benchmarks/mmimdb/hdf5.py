"""multimodal_imdb.hdf5 in the layout of Fuel: one array per source, splits as row ranges in an attribute."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptkit.benchmarks.sources import file_name
from adaptkit.data.store_writer import StoreWriter
from adaptkit.data.unpickling import load_array
from adaptkit.errors import DataError, UnavailableError
from adaptkit.hdf5 import is_elsewhere, leaves

if TYPE_CHECKING:
    import h5py

SPLITS = {"train": "train", "dev": "validation", "test": "test"}
PUBLISHED = {"train": (0, 15552), "dev": (15552, 18160), "test": (18160, 25959)}  # where the attribute is gone
VECTORS = {"vgg": "vgg_features", "word2vec": "features"}
MEAN = np.array([103.939, 116.779, 123.68])  # of blue, green and red, which the authors subtracted
CHUNK = 256  # rows read at a time

# N films, C genres


def read_hdf5(root: Path, path: Path, writer: StoreWriter, columns: Mapping[str, str], *, images: bool) -> None:
    """vgg and word2vec vectors, genres, plots where metadata.npy is there, posters where asked for.

    Raises:
        UnavailableError: h5py is not installed.
        DataError: a truncated file, a missing array, splits that do not fit.
    """
    with _opened(path) as file:
        rows = len(_array(file, "genres"))
        names = _genre_names(file)
        splits = _splits(file, rows)
        vectors = {column: source for column, source in VECTORS.items() if source in file}
        for name in (*vectors.values(), *({"sequences", "imdb_ids", "images"} & set(file))):
            if len(_array(file, name)) != rows:
                raise DataError(f"{name} has {len(_array(file, name)):,} rows, genres {rows:,}.", where=str(path))
        words = _words(path.with_name("metadata.npy"), writer) if "sequences" in file else None
        for column, source in vectors.items():
            writer.column(column, "features", width=_array(file, source).shape[-1], description=columns[column])
        if words:
            writer.column("plot", "text", description=columns["plot"])
        if images:
            writer.column("poster", "path", description=columns["poster"])
        elif "images" in file:
            writer.note("posters are left in the hdf5 file; --option images=true writes them as .png files", rows)
        writer.column("genres", "labels", description=columns["genres"])
        writer.source(path)
        pictures = _Posters(root, file) if images else None
        for source, (start, stop) in splits.items():
            for first in range(start, stop, CHUNK):
                chunk = slice(first, min(first + CHUNK, stop))
                _add(file, chunk, SPLITS[source], names, vectors, words, pictures, writer)
    writer.classes["genres"] = sorted(names)


def _add(
    file: h5py.File,
    chunk: slice,
    split: str,
    names: list[str],
    vectors: Mapping[str, str],
    words: Mapping[int, str] | None,
    pictures: _Posters | None,
    writer: StoreWriter,
) -> None:
    """The rows of one chunk."""
    genres = _rows(file, "genres", chunk)
    ids = _rows(file, "imdb_ids", chunk) if "imdb_ids" in file else range(chunk.start, chunk.stop)
    values = {column: _rows(file, source, chunk) for column, source in vectors.items()}
    sequences = _rows(file, "sequences", chunk) if words else [()] * len(genres)
    for i, row in enumerate(genres):
        id = file_name(ids[i] if isinstance(ids[i], bytes) else str(ids[i]), "imdb_ids")
        sample: dict[str, Any] = {column: _present(found[i], column, writer) for column, found in values.items()}
        if words:
            sample["plot"] = _plot(sequences[i], words)
        if pictures:
            sample["poster"] = pictures.write(chunk.start + i, id)
        sample["genres"] = [name for name, held in zip(names, row, strict=True) if held]
        writer.add(split, id, sample)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        import h5py
    except ImportError:
        raise UnavailableError("h5py is not installed.", hint='pip install "adaptkit[hdf5]"') from None
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise _damaged(path, error) from None
    with file:
        yield file


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"cannot be read as hdf5: {(str(error).splitlines() or ['?'])[0]}.",
        where=str(path),
        hint="A download that broke off? Fetch it again.",
    )


def _array(file: h5py.File, name: str) -> Any:
    if name not in file:
        raise DataError(f"has no array {name!r}.", where=str(file.filename), hint=f"It has: {', '.join(file)}.")
    if leaves(file, name):
        raise DataError(f"the array {name!r} lies in another file.", where=str(file.filename))
    found: Any = file[name]
    if not hasattr(found, "shape"):
        raise DataError(f"{name!r} is a group, not an array.", where=str(file.filename))
    if is_elsewhere(found, file):
        raise DataError(f"the array {name!r} lies in another file.", where=str(file.filename))
    return found


def _rows(file: h5py.File, name: str, rows: Any) -> Any:
    try:
        return _array(file, name)[rows]
    except (OSError, RuntimeError, ValueError) as error:  # a damaged chunk
        raise _damaged(Path(file.filename), error) from None


def _genre_names(file: h5py.File) -> list[str]:
    genres = _array(file, "genres")
    names = genres.attrs.get("target_names")
    try:
        names = json.loads(names) if isinstance(names, str | bytes) else None
    except json.JSONDecodeError:
        names = None
    if not isinstance(names, list) or genres.ndim != 2 or len(names) != genres.shape[1]:
        raise DataError("genres has no target_names that fit its columns.", where=str(file.filename))
    return [str(name) for name in names]


def _splits(file: h5py.File, rows: int) -> dict[str, tuple[int, int]]:
    """Row ranges of train, dev and test: from the attribute `split`, or the published ones."""
    if "split" not in file.attrs and rows == PUBLISHED["test"][1]:
        return dict(PUBLISHED)
    table = np.asarray(file.attrs.get("split", ()))
    known = {"split", "source", "start", "stop"} <= set(table.dtype.names or ())
    found: dict[str, tuple[int, int]] = {}
    for entry in table if known else ():
        if _text(entry["source"]) in ("genres", "") or not found.get(_text(entry["split"])):
            found[_text(entry["split"])] = (int(entry["start"]), int(entry["stop"]))
    ranges = sorted(found.get(split, (-1, -1)) for split in SPLITS)
    apart = all(before[1] <= after[0] for before, after in pairwise(ranges))
    if not found.keys() >= SPLITS.keys() or ranges[0][0] < 0 or ranges[-1][1] > rows or not apart:
        raise DataError(
            f"the attribute `split` does not name rows of train, dev and test among {rows:,}: {found}.",
            where=str(file.filename),
        )
    return {split: found[split] for split in SPLITS}


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _words(path: Path, writer: StoreWriter) -> dict[int, str] | None:
    """Number -> word, from metadata.npy: a pickled dict, read with the restricted unpickler."""
    if not path.is_file():
        writer.note("plots are left out: metadata.npy, which has the words, is not beside the hdf5 file")
        return None
    writer.source(path)
    metadata = load_array(path)
    found = metadata.reshape(-1)[0] if metadata.dtype.hasobject and metadata.size == 1 else None
    words = found.get("ix_to_word") if isinstance(found, dict) else None
    if not isinstance(words, dict):
        raise DataError("a dict with ix_to_word is expected.", where=str(path))
    return {int(number): _text(word) for number, word in words.items()}


def _plot(sequence: Any, words: Mapping[int, str]) -> str | None:
    """The words of a plot; `_UNK_` and numbers without a word are left out."""
    known = (words.get(int(number), "_UNK_") for number in sequence)
    return " ".join(word for word in known if word != "_UNK_") or None


def _present(vector: np.ndarray, column: str, writer: StoreWriter) -> np.ndarray | None:
    """The vector, or None where it is NaN throughout: the mean over no word."""
    if np.isnan(vector).all():
        writer.note(f"{column}: vectors that are NaN throughout count as absent")
        return None
    return vector


class _Posters:
    """Posters as .png files. The published ones are (3, height, width), blue first, with the mean subtracted."""

    def __init__(self, root: Path, file: h5py.File) -> None:
        self.folder = root / "posters"
        self.folder.mkdir(exist_ok=True)
        self.file = file
        shape = _array(file, "images").shape
        if len(shape) != 4 or shape[1] != 3:
            raise DataError(f"images has shape {shape}, not (N, 3, H, W).", where=str(file.filename))
        self.centred = bool((_rows(file, "images", slice(0, 32)) < 0).any())

    def write(self, row: int, id: str) -> str:
        """Writes one poster and returns its path relative to the root."""
        from PIL import Image

        values = _rows(self.file, "images", row).transpose(1, 2, 0)  # (H, W, 3)
        if self.centred:
            values = (values + MEAN)[..., ::-1]  # to red first
        Image.fromarray(np.clip(values.round(), 0, 255).astype(np.uint8)).save(self.folder / f"{id}.png")
        return f"posters/{id}.png"
