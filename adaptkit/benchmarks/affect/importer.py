"""What the pickles of affective computing share: CMU-MOSI, CMU-MOSEI, SIMS and IEMOCAP as three projects hand them out.

All hold {"train", "valid", "test"} -> {"text", "audio", "vision": (N, L, E), labels, perhaps ids, words, lengths}.
The families differ in the side of the padding, in the widths, and in how labels and ids look; a `Layout` says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from adaptkit.benchmarks.affect.padding import MODALITIES, Layout, Stated, as_array, strip
from adaptkit.benchmarks.benchmark import Benchmark
from adaptkit.benchmarks.sources import finite
from adaptkit.data.store import FOLDER
from adaptkit.data.store_writer import StoreWriter
from adaptkit.data.unpickling import load_pickle
from adaptkit.errors import DataError

SPLITS = {"train": "train", "valid": "validation", "test": "test"}
ALSO = {"val": "valid", "dev": "valid", "validation": "valid"}  # what copies of the files call it

# N samples, L steps with padding, T without, E width


class Affect(Benchmark):
    """A benchmark of these pickles. A subclass gives its layouts and says what it does with the labels.

    Attributes:
        layouts: variant -> how it is laid out.
    """

    layouts: ClassVar[Mapping[str, Layout]]

    def find(self, root: Path) -> str:
        """The variant whose pickle lies there.

        Raises:
            DataError: none of the published files is there, or several are.
        """
        found = {variant: path for variant, layout in self.layouts.items() if (path := layout.file(root))}
        if len(found) > 1:
            raise DataError(
                f"holds {len(found)} variants of {self.title}: "
                + ", ".join(f"{path.relative_to(root)} ({variant})" for variant, path in found.items())
                + ".",
                where=str(root),
                hint=f"Say which: --variant {next(iter(found))}",
            )
        if not found:
            raise self._nothing_in(root, self.layouts.values())
        return next(iter(found))

    def read(self, root: Path, writer: StoreWriter, variant: str, *, any_width: bool = False, **options: Any) -> None:
        """Split by split, sample by sample; padding is stripped and values that are not finite become 0.

        Args:
            any_width: take vectors of other widths than the published ones (features extracted anew).

        Raises:
            DataError: the pickle is missing, damaged, refused, or of another shape than published.
        """
        assert not options, options
        layout = self.layouts[variant]
        path = layout.file(root)
        if path is None:
            raise self._nothing_in(root, [layout])
        writer.source(path)
        splits = _splits(load_pickle(path), path)
        for name, split in splits.items():
            _check_keys(split, (*MODALITIES, *self.label_keys(layout)), name, path)
        widths = _widths(splits, layout, any_width, path)
        told = ["raw_text" in split for split in splits.values()]
        if words := all(told):
            writer.column("words", "text", description=self.columns["words"])
        elif any(told):
            writer.note("raw_text is not in every split: words not kept")
        for modality in MODALITIES:
            writer.column(modality, "features", width=widths[modality], description=self.columns[modality])
        self.declare(writer)
        seen: dict[str, str] = {}  # id -> the split it was first met in
        for name in SPLITS:
            part = Split(splits.pop(name), name, layout, path, writer)  # its arrays go when it is written
            self._write(part, words, seen)

    def _write(self, part: Split, words: bool, seen: dict[str, str]) -> None:
        targets, ids = self.targets(part), part.ids(seen)
        texts = part.texts() if words else None
        for index, target in enumerate(targets):
            if target is None:
                part.writer.note("samples whose label is not a finite number, dropped")
            elif (sequences := part.sequences(index)) is not None:
                spoken = {} if texts is None else {"words": texts[index]}
                part.writer.add(SPLITS[part.name], ids[index], {**spoken, **sequences, **target})

    def label_keys(self, layout: Layout) -> tuple[str, ...]:
        """The keys of a split that hold labels."""
        raise NotImplementedError

    def declare(self, writer: StoreWriter) -> None:
        """Declare the columns of the labels."""
        raise NotImplementedError

    def targets(self, part: Split) -> Sequence[Mapping[str, Any] | None]:
        """One entry for each sample: its label columns, None where it has no label."""
        raise NotImplementedError

    def _nothing_in(self, root: Path, layouts: Iterable[Layout]) -> DataError:
        names = sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []
        entries = [name for name in names if not name.startswith((".", FOLDER))]
        return DataError(
            f"is not {self.title}: expected {', or '.join(layout.places[0] for layout in layouts)}; "
            f"found {', '.join(entries[:8]) or 'nothing'}.",
            where=str(root),
        )


class Split:
    """One split of a pickle: its arrays, checked for equal numbers of samples."""

    def __init__(self, split: Mapping[str, Any], name: str, layout: Layout, path: Path, writer: StoreWriter) -> None:
        self.split, self.name, self.layout, self.writer = split, name, layout, writer
        self.where = f"{path}: {name}"
        self.arrays = {modality: np.asarray(split[modality]) for modality in MODALITIES}  # each (N, L, E)
        self.count = len(self.arrays["text"])
        for modality, array in self.arrays.items():
            self.same_count(modality, len(array))
        self.stated = Stated.of(split, self.arrays, layout, self.where, writer)

    def same_count(self, key: str, count: int) -> None:
        """Raise DataError where a key has another number of samples than the text."""
        if count != self.count:
            raise DataError(f"{key} has {count:,} samples, text has {self.count:,}.", where=self.where)

    def listed(self, key: str) -> Sequence[Any]:
        """N entries of a key that holds ids or texts."""
        value = self.split[key]
        if not isinstance(value, list | tuple | np.ndarray) or (isinstance(value, np.ndarray) and value.ndim == 0):
            raise DataError(f"{key} is a {type(value).__name__}, not a list.", where=self.where)
        self.same_count(key, len(value))
        return list(value)

    def numbers(self, key: str, *columns: int) -> np.ndarray:
        """(N, C) labels of any of the published shapes, (N,), (N, 1), (N, 1, 1), ..., with C one of `columns`.

        Raises:
            DataError: they are no numbers, or of another shape.
        """
        array = as_array(self.split[key], key, self.where)
        if array.dtype.kind not in "fiub" or array.ndim == 0:
            raise DataError(f"{key} are {array.dtype} of shape {array.shape}, not numbers.", where=self.where)
        self.same_count(key, len(array))
        flat = array.reshape(len(array), -1) if len(array) else np.zeros((0, columns[0]))
        if flat.shape[1] not in columns:
            wanted = " or ".join(map(str, columns))
            raise DataError(f"{key} have shape {array.shape}; {wanted} per sample expected.", where=self.where)
        return flat.astype(np.float64)

    def ids(self, seen: dict[str, str]) -> list[str]:
        """N names, unique within the split: of the source, or made of split and position where it has none."""
        if self.split.get("id") is None:
            self.writer.note("samples without an id in the source: named by split and position", self.count)
            return [f"{SPLITS[self.name]}_{index}" for index in range(self.count)]
        names: dict[str, None] = {}  # in order
        for entry in self.listed("id"):
            name = _name(entry)
            if (first := seen.setdefault(name, self.name)) != self.name:
                self.writer.note(f"ids that are in {SPLITS[first]} and in {SPLITS[self.name]} (kept)")
            if name in names:
                self.writer.note("ids that repeat within a split: #2, #3, ... appended")
                name = next(new for k in count(2) if (new := f"{name}#{k}") not in names)
            names[name] = None
        return list(names)

    def texts(self) -> list[str | None]:
        """N transcripts, None where there is none."""
        return [None if entry is None else _plain(entry).strip() or None for entry in self.listed("raw_text")]

    def sequences(self, index: int) -> dict[str, np.ndarray | None] | None:
        """Modality -> (T, E) without padding, None where absent; None altogether for a sample that is dropped."""
        with np.errstate(over="ignore"):  # float64 beyond float32 is infinite, and becomes 0
            padded = {name: finite(array[index], name, self.writer) for name, array in self.arrays.items()}  # (L, E)
        if self.layout.text_decides and padded["text"].sum() == 0:
            self.writer.note("samples whose text sums to 0, dropped as MultiBench does")
            return None
        return strip(padded, self.stated.of_sample(index), self.layout, self.writer)


def _splits(content: Any, path: Path) -> dict[str, dict[str, Any]]:
    """The three splits under their published names, in order."""
    if not isinstance(content, dict):
        raise DataError(f"holds a {type(content).__name__}, not a dict of train, valid, test.", where=str(path))
    named = {ALSO.get(_plain(key), _plain(key)): value for key, value in content.items()}
    for name in SPLITS:
        if name not in named:
            raise DataError(
                f"has no split {name!r}; it has {', '.join(sorted(named)) or 'none'}.",
                where=str(path),
                hint="train, valid and test are expected.",
            )
        if not isinstance(named[name], dict):
            raise DataError(f"{name} is a {type(named[name]).__name__}, not a dict of arrays.", where=str(path))
    return {name: {_plain(key): value for key, value in named[name].items()} for name in SPLITS}


def _check_keys(split: Mapping[str, Any], wanted: Sequence[str], name: str, path: Path) -> None:
    missing = [key for key in wanted if key not in split]
    if missing:
        raise DataError(
            f"{name} has no {', '.join(missing)}; it has {', '.join(sorted(split))}.",
            where=str(path),
            hint=f"Each split is expected to hold {', '.join(wanted)}.",
        )


def _widths(splits: Mapping[str, Mapping[str, Any]], layout: Layout, any_width: bool, path: Path) -> dict[str, int]:
    """Modality -> E, the same in all splits and one of the published ones."""
    widths: dict[str, int] = {}
    for name, split in splits.items():
        shapes = {modality: _shape(split[modality], f"{path}: {name}", modality) for modality in MODALITIES}
        found = {modality: shape[2] for modality, shape in shapes.items()}
        odd = any(found[modality] not in layout.widths[modality] for modality in MODALITIES) and not any_width
        if odd or (widths and found != widths):
            wanted = widths or {key: " or ".join(map(str, layout.widths[key])) for key in MODALITIES}
            raise DataError(
                f"{name} has vectors of {_listed(found)}; expected {_listed(wanted)}.",
                where=str(path),
                hint="" if widths else "Is it another data set or variant? For features of your own: any_width=true.",
            )
        if layout.aligned and len({shape[1] for shape in shapes.values()}) > 1:
            raise DataError(
                f"{name} has sequences of {_listed({key: shape[1] for key, shape in shapes.items()})} steps; "
                "in an aligned file all three are as long.",
                where=str(path),
                hint="Is it the unaligned file under another name?",
            )
        widths = found
    return widths


def _shape(value: Any, where: str, modality: str) -> tuple[int, int, int]:
    array = as_array(value, modality, where)
    if array.ndim != 3 or array.dtype.kind not in "fiu":
        raise DataError(
            f"{modality} is an array of {array.dtype} of shape {array.shape}; numbers of shape "
            "(samples, steps, width) expected.",
            where=where,
        )
    return array.shape


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _name(entry: Any) -> str:
    """`video_start_end` of a row (video, start, end); bytes are text."""
    if isinstance(entry, np.ndarray | list | tuple):
        return "_".join(_plain(part) for part in np.asarray(entry, dtype=object).reshape(-1))
    return _plain(entry)


def _plain(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
