"""A small MSR-VTT, laid out as downloaded, whose captions match what seven experts saw."""

from __future__ import annotations

import colorsys
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adaptkit.benchmarks.planted import parts, total, vectors

WHO = ("a man", "a woman", "a dog", "a cat", "a baby", "a horse", "a robot", "a chef")
WHAT = ("running", "singing", "sleeping", "dancing", "eating", "swimming", "jumping", "fighting")
WHERE = (
    "in a kitchen",
    "on the beach",
    "in the snow",
    "at a stadium",
    "in a forest",
    "on a stage",
    "in a car",
    "by a river",
)
PHRASES = (
    "{who} is {what} {where}",
    "{where} {who} is {what}",
    "there is {who} {what} {where}",
    "we see {who} {what} {where}",
)
OPTIONAL = 0.6  # share of the clips that show a face, a text or somebody who speaks


@dataclass(frozen=True, slots=True)
class Expert:
    """What one of the seven usual experts says of a clip: (frames, width), (width,) where frames is 0."""

    width: int
    frames: int
    tells: int | None  # 0 who, 1 what, 2 where
    always: bool = True


EXPERTS = {
    "appearance": Expert(2048, 4, 0),
    "motion": Expert(1024, 4, 1),
    "scene": Expert(2208, 0, 2),
    "audio": Expert(128, 8, 1),
    "face": Expert(512, 0, 0, always=False),
    "speech": Expert(300, 6, 2, always=False),
    "ocr": Expert(300, 3, None, always=False),
}
TRAIN = {"1k-A": "MSRVTT_train.9k.csv", "7k": "MSRVTT_train.7k.csv"}


def write_msrvtt(root: Path, *, variant: str, samples: int, seed: int) -> None:
    """`samples` clips to train; of dev and test, no clip shows what another does, as far as 512 combinations go."""
    rng = np.random.default_rng((seed, 9501))
    count, ranges = total(samples), parts(samples)
    shown = np.stack(np.unravel_index(rng.permutation(np.arange(max(count, 512)) % 512)[:count], (8, 8, 8)), axis=1)
    official = {"train": "train", "dev": "validate", "test": "test"}
    videos, sentences = [], []
    for part, positions in ranges.items():
        for i in positions:
            name = f"video{i}"
            url = f"https://www.youtube.com/watch?v={i:011d}"
            times = {"start time": 10.0, "end time": 20.0}  # the keys have a space
            videos.append({"category": 0, "url": url, "video_id": name, **times, "split": official[part], "id": i})
            for phrase in PHRASES:
                who, what, where = shown[i]
                text = phrase.format(who=WHO[who], what=WHAT[what], where=WHERE[where])
                sentences.append({"caption": text, "video_id": name, "sen_id": len(sentences)})
            _write_experts(root, name, shown[i], rng)
    root.mkdir(parents=True, exist_ok=True)
    data = {"info": {"year": "2016"}, "videos": videos, "sentences": sentences}
    (root / ("videodatainfo_2016.json" if variant == "official" else "MSRVTT_data.json")).write_text(json.dumps(data))
    if variant != "official":
        _write_csv(root / TRAIN[variant], ["video_id"], [[f"video{i}"] for i in [*ranges["train"], *ranges["dev"]]])
        rows = [
            [f"ret{n}", f"msr{i}", f"video{i}", sentences[i * len(PHRASES)]["caption"]]
            for n, i in enumerate(ranges["test"])
        ]
        _write_csv(root / "MSRVTT_JSFUSION_test.csv", ["key", "vid_key", "video_id", "sentence"], rows)
    _write_videos(root / "videos", shown, rng)


def _write_csv(path: Path, head: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])


def _write_experts(root: Path, name: str, shown: np.ndarray, rng: np.random.Generator) -> None:
    for key, expert in EXPERTS.items():
        folder = root / "features" / key
        folder.mkdir(parents=True, exist_ok=True)
        told = np.arange(8) == (shown[expert.tells] if expert.tells is not None else -1)
        values = vectors(told, expert.width, max(expert.frames, 1), rng)
        if expert.always or rng.random() < OPTIONAL:
            np.save(folder / f"{name}.npy", values if expert.frames else values[0])


def _write_videos(folder: Path, shown: np.ndarray, rng: np.random.Generator) -> None:
    """Eight frames of 64 x 64 in the colour of who, where PyAV is installed."""
    try:
        import av
    except ImportError:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for i, (who, *_) in enumerate(shown):
        colour = 255 * np.asarray(colorsys.hsv_to_rgb(who / 8, 0.9, 1.0))
        with av.open(str(folder / f"video{i}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=8)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
            for _ in range(8):
                values = np.clip(colour + rng.normal(0, 10, (64, 64, 3)), 0, 255).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="rgb24")))
            container.mux(stream.encode())
