"""MSR-VTT: 10,000 clips with 20 captions each (Xu et al. 2016), for retrieval, in its three usual splits."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.benchmarks.benchmark import Benchmark, register
from adaptkit.benchmarks.msrvtt.synthesis import write_msrvtt
from adaptkit.benchmarks.sources import MISSING_ALLOWED, CheckedFiles, Missing, drawn, file_name, read_json, read_text
from adaptkit.data.store_writer import StoreWriter
from adaptkit.errors import DataError
from adaptkit.npy import mapped

OFFICIAL = {"train": "train", "validate": "validation", "val": "validation", "test": "test"}
TEST = "MSRVTT_JSFUSION_test.csv"
TRAIN = {"1k-A": "MSRVTT_train.9k.csv", "7k": "MSRVTT_train.7k.csv"}
FOLDERS = ("", "msrvtt_data", "annotation", "MSRVTT", "MSRVTT/annotation")  # where the annotations may lie
VALIDATION = 500  # videos drawn from train where the protocol has no validation split; at most a tenth
MP4 = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # names of the boxes a file may start with


@register("msrvtt")
class MSRVTT(Benchmark):
    """MSR-VTT: 10,000 clips with 20 captions each, for retrieval.

    Text to video retrieval, from videos or from vectors that experts made of them.
    """

    name = "msrvtt"
    title = "MSR-VTT"
    description = "Which clip a caption describes, from videos or expert features."
    url = "https://github.com/ArrowLuo/CLIP4Clip"
    task = 'kind = "retrieval", query = "caption", column = "video_id"'
    columns: Mapping[str, str] = {
        "caption": "text: one caption; a row for each",
        "video_id": "label: the clip it belongs to",
        "video": "path of videoN.mp4 or .webm, where the files are there",
        "<expert>": "path of features/<expert>/<video_id>.npy, (T, E) or (E,): one column for each folder",
    }
    variants: Mapping[str, str] = {
        "1k-A": f"MSRVTT_data.json, {TRAIN['1k-A']}, {TEST}: 9,000 clips to train, 1,000 sentences to test",
        "7k": f"MSRVTT_data.json, {TRAIN['7k']}, {TEST}: 7,010 clips to train, 1,000 sentences to test",
        "official": "MSRVTT_data.json or videodatainfo_2016.json: 6,513, 497 and 2,990 clips, 20 captions each",
    }

    def find(self, root: Path) -> str:
        """The first of 1k-A, 7k and official whose files are there; CLIP4Clip's archive has those of all three."""
        folder = _annotations(root)[0].parent
        if (folder / TEST).is_file():
            for variant, name in TRAIN.items():
                if (folder / name).is_file():
                    return variant
        return "official"

    def read(
        self,
        root: Path,
        writer: StoreWriter,
        variant: str,
        *,
        validation: int = 0,
        seed: int = 0,
        missing: float = MISSING_ALLOWED,
    ) -> None:
        """One row for each caption; validation and test of 1k-A and 7k have one caption for each clip.

        Args:
            validation: clips drawn from train, for 1k-A and 7k; 0: 500, at most a tenth.
            seed: of the draw.
            missing: share of the videos that may be missing; of vectors any may, as many clips have no speech.
        """
        rule = Missing(missing)
        sources = _annotations(root)
        for source in sources:
            writer.source(source)
        official, captions = _clips(sources)
        if variant == "official":
            splits = {split: [(c, text) for c in clips for text in captions[c]] for split, clips in official.items()}
        else:
            splits = _csv_splits(sources[0].parent, variant, captions, validation, seed, writer)
        clips = {clip for rows in splits.values() for clip, _ in rows}
        videos = _videos(root)
        files = _columns(root, clips, videos, writer, rule)
        for name, kind in (("caption", "text"), ("video_id", "label")):
            writer.column(name, kind, description=self.columns[name])
        for name, (column, width) in files.items():
            writer.column(name, "path", width=width, description=f"paths of {column.noun}")

        def path_of(name: str, clip: str) -> str | None:
            vectors = root / "features" / name / f"{clip}.npy"
            return files[name][0].path(videos.get(clip, vectors) if name == "video" else vectors)

        for split, rows in splits.items():
            _add(split, rows, {name: partial(path_of, name) for name in files}, writer)
        for column, _ in files.values():
            column.finish()
        writer.classes["video_id"] = sorted(clips)

    def synth(self, root: Path, *, variant: str = "1k-A", samples: int = 240, seed: int = 0) -> None:
        """Captions name who does what where, and each expert saw one of the three.

        Appearance and face tell who, motion and audio what, scene and speech where, ocr nothing; face, speech and
        ocr are there for some clips only. Four captions a clip instead of 20. Where PyAV is installed there are
        tiny videos, too, whose colour tells who.
        """
        write_msrvtt(root, variant=variant, samples=samples, seed=seed)


def _annotations(root: Path) -> list[Path]:
    """The .json files of the first folder that has some: MSRVTT_data.json, or all *videodatainfo*.json."""
    for folder in dict.fromkeys(root / name for name in FOLDERS):
        if (folder / "MSRVTT_data.json").is_file():
            return [folder / "MSRVTT_data.json"]
        found = sorted(folder.glob("*videodatainfo*.json"))
        if found:
            return found
    there = ", ".join(sorted(entry.name for entry in root.iterdir())[:8]) if root.is_dir() else "no such folder"
    raise DataError(
        f"{root} is not MSR-VTT: MSRVTT_data.json or videodatainfo_2016.json is expected there (found: {there})."
    )


def _clips(sources: list[Path]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Official split -> clips, and clip -> captions in the order of the files."""
    splits: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    captions: dict[str, list[str]] = {}
    for source in sources:
        data = read_json(source)
        for name in ("videos", "sentences"):
            if not isinstance(data, dict) or not isinstance(data.get(name), list):
                raise DataError(f"an object with a list {name!r} is expected.", where=source.name)
        new: set[str] = set()  # the files of 2016 and 2017 share clips: each counts once, with its captions
        for number, video in enumerate(data["videos"]):
            where = f"{source.name}, videos[{number}]"
            clip = file_name(_field(video, "video_id", where), where)
            if clip not in captions:
                captions[clip] = []
                new.add(clip)
                split = video.get("split", "train")
                if split not in OFFICIAL:
                    raise DataError(f"the split {split!r} is not one of {', '.join(OFFICIAL)}.", where=where)
                splits[OFFICIAL[split]].append(clip)
        for number, sentence in enumerate(data["sentences"]):
            where = f"{source.name}, sentences[{number}]"
            clip, text = file_name(_field(sentence, "video_id", where), where), _field(sentence, "caption", where)
            if clip not in captions or not isinstance(text, str):
                raise DataError(f"a caption {text!r} of an unknown clip {clip!r}.", where=where)
            if clip in new:
                captions[clip].append(text.strip())
    return splits, captions


def _field(record: Any, name: str, where: str) -> Any:
    if not isinstance(record, dict) or name not in record:
        raise DataError(f"an object with {name!r} is expected.", where=where)
    return record[name]


def read_csv(path: Path, needed: tuple[str, ...]) -> list[tuple[str, dict[str, str]]]:
    """(`file:line`, row) of a csv with a header; some copies have semicolons.

    Raises:
        DataError: the file or a column is missing.
    """
    text = read_text(path).replace("\0", "")
    head = text.partition("\n")[0]
    delimiter = ";" if ";" in head and "," not in head else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        lines = [(reader.line_num, fields) for fields in reader if fields]
    except csv.Error as error:
        raise DataError(f"this is no csv: {error}.", where=f"{path.name}:{reader.line_num}") from None
    names = [name.strip() for name in lines[0][1]] if lines else []
    for name in needed:
        if name not in names:
            raise DataError(f"no column {name!r}, only {', '.join(names) or 'an empty file'}.", where=path.name)
    rows = []
    for number, fields in lines[1:]:
        last = delimiter.join(fields[len(names) - 1 :])  # a sentence whose commas are not quoted
        row = dict(zip_longest(names[:-1], fields[: len(names) - 1], fillvalue=""))
        rows.append((f"{path.name}:{number}", row | {names[-1]: last}))
    return rows


def _csv_splits(
    folder: Path, variant: str, captions: Mapping[str, list[str]], count: int, seed: int, writer: StoreWriter
) -> dict[str, list[tuple[str, str]]]:
    train, test = folder / TRAIN[variant], folder / TEST
    asked = [(file_name(row["video_id"], w), row["sentence"]) for w, row in read_csv(test, ("video_id", "sentence"))]
    tested = {clip for clip, _ in asked}
    clips = []
    for where, row in read_csv(train, ("video_id",)):
        clip = file_name(row["video_id"], where)
        if clip in tested:
            writer.note("clips of the test split are left out of train")
        elif not captions.get(clip):
            writer.note("clips of train without a caption are dropped")
        else:
            clips.append(clip)
    for source in (train, test):
        writer.source(source)
    clips = list(dict.fromkeys(clips))
    count = count or min(VALIDATION, len(clips) // 10)
    if not 0 < count < len(clips):
        raise DataError(f"{count} validation clips cannot be drawn from {len(clips)}.", where=train.name)
    chosen = drawn([""] * len(clips), count, seed)
    writer.note(f"validation: clips drawn from train, seed {seed}, the first caption of each", count)
    return {
        "train": [(clip, text) for i, clip in enumerate(clips) if i not in chosen for text in captions[clip]],
        "validation": [(clip, captions[clip][0]) for i, clip in enumerate(clips) if i in chosen],
        "test": asked,
    }


def _columns(
    root: Path, clips: set[str], videos: Mapping[str, Path], writer: StoreWriter, missing: Missing
) -> dict[str, tuple[CheckedFiles, int | None]]:
    """Column of files -> its checks and, of vectors, their width.

    Vectors stay where they are: 20 rows share those of one clip, and a store would hold them 20 times.
    """
    found: dict[str, tuple[CheckedFiles, int | None]] = {}
    if not clips.isdisjoint(videos):
        found["video"] = (CheckedFiles(root, "video", writer, video_fault, "videos", missing), None)
    experts = sorted(folder for folder in (root / "features").glob("*") if folder.is_dir())
    for folder in experts:
        name = file_name(folder.name, "features")
        if name in ("caption", "video_id", "video", "id"):
            raise DataError(f"an expert cannot be called {name!r}.", where=str(folder), hint="Rename its folder.")
        writer.source(folder)
        width = _expert_width(folder)
        found[name] = (CheckedFiles(root, name, writer, lambda path, w=width: expert_fault(path, w), "vectors"), width)
    return found


def _videos(root: Path) -> dict[str, Path]:
    """Clip -> its video, anywhere below the root; .mp4 goes before .webm."""
    return {path.stem: path for end in (".webm", ".mp4") for path in sorted(root.rglob(f"*{end}"))}


def _expert_width(folder: Path) -> int:
    """E of the first readable file; all must have it."""
    for path in sorted(folder.glob("*.npy")):
        array = _vectors(path)
        if array is not None and array.ndim in (1, 2):
            return int(array.shape[-1])
    raise DataError(f"{folder} has no .npy file with vectors, (T, E) or (E,).", where="features")


def _vectors(path: Path) -> np.ndarray | None:
    """The array, memory-mapped; None where there is none, or only a pickle."""
    try:
        array = mapped(path)
    except (ValueError, EOFError, OSError):
        return None
    return array if isinstance(array, np.ndarray) and array.dtype.kind in "fiu" and array.size else None


def expert_fault(path: Path, width: int) -> str:
    """Why an .npy file cannot be used, or "".

    Raises:
        DataError: it holds vectors of another width, so that the whole folder is in doubt.
    """
    array = _vectors(path)
    if array is None:
        return "not a readable .npy array of numbers"
    if array.ndim not in (1, 2) or array.shape[-1] != width:
        raise DataError(f"{path} has shape {array.shape}, not (T, {width}) or ({width},).", where=path.parent.name)
    return "" if np.isfinite(array).all() else "NaN or infinity"


def video_fault(path: Path) -> str:
    """Why a file is no video, from its first bytes, or ""."""
    with path.open("rb") as file:
        head = file.read(12)
    good = head[4:8] in MP4 if path.suffix == ".mp4" else head[:4] == b"\x1a\x45\xdf\xa3"
    return "" if good else "not a video"


def _add(
    split: str,
    rows: list[tuple[str, str]],
    found: Mapping[str, Callable[[str], str | None]],
    writer: StoreWriter,
) -> None:
    counts: Counter[str] = Counter()
    for clip, caption in rows:
        paths = {name: path(clip) for name, path in found.items()}
        writer.add(split, f"{clip}#{counts[clip]}", {"caption": caption or None, "video_id": clip, **paths})
        counts[clip] += 1
