"""What the video tasks of VALUE share (Li et al. 2021): annotations by line, subtitles, one file of vectors a clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.benchmarks.benchmark import Benchmark
from adaptkit.benchmarks.clips.synthesis import Clips, write_clips
from adaptkit.benchmarks.json_items import id_of, text_of
from adaptkit.benchmarks.sources import MISSING_ALLOWED, download, json_lines
from adaptkit.benchmarks.visual_files import VisualFiles
from adaptkit.data.store_writer import StoreWriter
from adaptkit.errors import DataError

FOLDERS = ("video", "")
VALIDATION = 1000  # clips whose rows are taken from train; at most a tenth
URL = "https://github.com/VALUE-Leaderboard/DataRelease"
COLUMNS: Mapping[str, str] = {
    "subtitles": "text: what is said in the clip; absent where nothing is",
    "time": 'text: the span in question, "12.5-18.0"',
    "question": "text: the question",
    "options": 'text: the answers to choose from, "a0: ... a1: ..."',
    "answer": 'label: the right one, "a0" to "a4"',
    "captions": "texts: in train one, else all",
    "video": "array (T, 512): vis_features/{tv,how2,yc2}/clip-vit/<video>.npz, one vector a frame",
}
Row = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Files:
    """Where a task's files lie, below `video` or the root.

    Attributes:
        train: its annotations to train with.
        test: those whose answers are public, published as validation.
        subtitles: of all its videos.
        videos: the folder of their vectors.
    """

    train: str
    test: str
    subtitles: str
    videos: str


class ClipTask(Benchmark):
    """A task about clips: what it asks is in the subclass.

    Attributes:
        files: where they lie.
        kinds: column -> kind, besides subtitles and video.
        planted: what `synth` writes.
    """

    files: Files
    kinds: Mapping[str, str]
    planted: Clips
    url = URL
    shares_root = True

    def rows(self, record: Mapping[str, Any], where: str, *, train: bool) -> Iterator[Row]:
        """(id, values) of the rows that a line of annotations makes.

        Raises:
            DataError: something is missing in it.
        """
        raise NotImplementedError

    def find(self, root: Path) -> str:
        """`value`, the only one."""
        self._folder(root)
        return "value"

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
        """Line by line. The published validation split is the test, since the answers of the test are not public.

        Args:
            validation: videos whose rows are taken from train; 0: 1,000, at most a tenth.
            seed: of that choice.
            missing: the share of the videos that may have no file.
        """
        folder = self._folder(root)
        videos = VisualFiles(
            root, writer, [folder / self.files.videos], suffix=".npz", key="features", missing=missing, noun="videos"
        )
        said = _subtitles(folder / self.files.subtitles)
        for name in (self.files.train, self.files.test, self.files.subtitles):
            writer.source(folder / name)
        writer.column("subtitles", "text", description=COLUMNS["subtitles"])
        for name, kind in self.kinds.items():
            writer.column(name, kind, description=COLUMNS[name])
        writer.column("video", "array", width=videos.width, description=COLUMNS["video"])
        held = _drawn_videos(folder / self.files.train, validation, seed)
        writer.note(f"validation: the rows of videos drawn from train, seed {seed} (videos)", len(held))
        writer.note(f"test holds {self.files.test}, whose answers are public")
        for split, name in (("train", self.files.train), ("validation", self.files.train), ("test", self.files.test)):
            wanted = _wanted(split, held)
            for where, record in json_lines(folder / name):
                video = id_of(record, where, "vid_name")
                if not wanted(video):
                    continue
                if video not in said:
                    writer.note("rows of videos without subtitles")
                for id, values in self.rows(record, where, train=split == "train"):
                    cells = {"subtitles": said.get(video) or None, "video": videos.named(video), **values}
                    writer.add(split, id, cells)
        videos.finish()

    def synth(self, root: Path, *, variant: str = "value", samples: int = 240, seed: int = 0) -> None:
        """The vectors of a clip tell who does what; the subtitles, some of them very long, tell nothing."""
        write_clips(root / "video", self.planted, samples=samples, seed=seed)

    def _folder(self, root: Path) -> Path:
        names = (self.files.train, self.files.test, self.files.subtitles)
        expected = f"video/{names[0]} (or {names[0]}), {names[1]} and {names[2]} are"
        return download(root, self.title, FOLDERS, names, expected)


def span(record: Mapping[str, Any], where: str) -> str | None:
    """The span of time that a line is about: "12.5-18.0", as a text or as two numbers in the file.

    Raises:
        DataError: it is something else.
    """
    found = record.get("ts")
    if isinstance(found, list) and len(found) == 2 and all(isinstance(end, int | float) for end in found):
        return f"{found[0]}-{found[1]}"
    if found is not None and not isinstance(found, str):
        raise DataError(f"ts is {str(found)[:40]}, not a span of time.", where=where)
    return found


def _wanted(split: str, held: frozenset[str]) -> Callable[[str], bool]:
    return {"train": lambda video: video not in held, "validation": held.__contains__}.get(split, lambda _: True)


def _subtitles(path: Path) -> dict[str, str]:
    """Video -> everything that is said in it, in order."""
    said: dict[str, str] = {}
    for where, record in json_lines(path):
        listed = record.get("sub")
        if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
            raise DataError("a list `sub` of objects is expected.", where=where)
        texts = (text_of(entry, where, "text") for entry in listed)
        said[id_of(record, where, "vid_name")] = " ".join(text for text in texts if text)
    return said


def _drawn_videos(path: Path, count: int, seed: int) -> frozenset[str]:
    videos = sorted({id_of(record, where, "vid_name") for where, record in json_lines(path)})
    count = count or max(1, min(VALIDATION, len(videos) // 10))
    if not 0 < count < len(videos):
        raise DataError(f"{count} validation videos cannot be drawn from {len(videos)}.", where=path.name)
    rng = np.random.default_rng((seed, 9801))
    return frozenset(videos[i] for i in rng.permutation(len(videos))[:count])
