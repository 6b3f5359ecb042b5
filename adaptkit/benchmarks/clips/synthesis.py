"""Small TVQA, How2QA, TVC and YC2C in VALUE's form, whose answers and captions need the frames."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.benchmarks.planted import vectors

WHO = ("a man", "a woman", "a dog", "a cat", "a robot", "a chef")
WHAT = ("running", "singing", "sleeping", "dancing", "eating", "cooking")
QUESTIONS = {0: "Who is in the clip?", 1: "What is happening in the clip?"}
PHRASES = ("{who} is {what}", "there is {who} {what}", "we see {who} {what}")
TALK = ("Well, you know how it is.", "I told you so.", "Come on, that is not fair!", "What do you mean?", "Let us see.")
WIDTH = 512  # of CLIP ViT-B/32
LONG = 8  # every so manieth clip has subtitles that are longer than any model reads


@dataclass(frozen=True, slots=True)
class Clips:
    """What is written.

    Attributes:
        task: folder of the annotations.
        train: name of their file to train with.
        test: and of the one to evaluate with.
        source: of subtitles and videos: "tv", "how2" or "yc2".
        choices: answers to a question; 0: captions.
    """

    task: str
    train: str
    test: str
    source: str
    choices: int = 0


def write_clips(root: Path, clips: Clips, *, samples: int, seed: int) -> None:
    """Annotations, subtitles, and (T, 512) of any T for every clip. The tasks of a source have the same clips."""
    per_clip = 1 if clips.choices else len(PHRASES)
    train = max(11, -(-samples * 10 // (9 * per_clip)))  # a tenth becomes validation
    parts = {clips.train: range(train), clips.test: range(train, train + max(2, train // 4))}
    (root / "ann" / clips.task).mkdir(parents=True, exist_ok=True)
    for name, numbers in parts.items():
        lines = [_asked(clips, n, seed) if clips.choices else _told(clips, n, seed) for n in numbers]
        _write_lines(root / "ann" / clips.task / f"{name}.jsonl", lines)
    said = root / "ann" / f"{clips.source}_subtitles.jsonl"
    known = [json.loads(line) for line in said.read_text().splitlines()] if said.is_file() else []
    every = max(len(known), parts[clips.test].stop)
    _write_lines(said, [_subtitles(clips.source, n, seed) for n in range(every)])
    for number in range(parts[clips.test].stop):
        _write_features(root / "vis_features" / clips.source / "clip-vit", clips.source, number, seed)


def _shown(number: int, seed: int) -> tuple[int, int]:
    """Who does what in the clip of this number."""
    who, what = np.random.default_rng((seed, 9811, number)).integers(6, size=2)
    return int(who), int(what)


def _asked(clips: Clips, number: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng((seed, 9812, number))
    about = int(rng.integers(2))
    values, right = (WHO, WHAT)[about], _shown(number, seed)[about]
    others = rng.permutation([n for n in range(len(values)) if n != right])[: clips.choices - 1]
    order = rng.permutation([right, *others])
    options = {f"a{place}": f"{values[n]}." for place, n in enumerate(order)}
    base = {"qid": number, "q": QUESTIONS[about], "vid_name": _name(clips.source, number), "ts": "0.5-6.25"}
    return {**base, **options, "answer_idx": int(np.flatnonzero(order == right)[0]), "show_name": "Friends"}


def _told(clips: Clips, number: int, seed: int) -> dict[str, Any]:
    who, what = _shown(number, seed)
    texts = [phrase.format(who=WHO[who], what=WHAT[what]) for phrase in PHRASES]
    descs = [{"desc": text, "desc_id": number * 10 + n, "type": "v"} for n, text in enumerate(texts)]
    base = {"vid_name": _name(clips.source, number), "duration": 12.0, "ts": [0.5, 6.25]}
    return {**base, "clip_id": number, "descs": descs}


def _subtitles(source: str, number: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng((seed, 9813, number))
    count = 300 if number % LONG == LONG - 1 else int(rng.integers(0, 6))
    said = [
        {"text": f" {TALK[n]} ", "start": 1.0 * i, "end": 1.0 * i + 1}
        for i, n in enumerate(rng.integers(5, size=count))
    ]
    return {"vid_name": _name(source, number), "sub": said}


def _write_features(folder: Path, source: str, number: int, seed: int) -> None:
    rng = np.random.default_rng((seed, 9814, number))
    held = np.zeros(len(WHO) + len(WHAT), dtype=bool)
    who, what = _shown(number, seed)
    held[[who, len(WHO) + what]] = True
    folder.mkdir(parents=True, exist_ok=True)
    frames = vectors(held, WIDTH, int(rng.integers(6, 80)), rng).astype(np.float16)
    np.savez(folder / f"{_name(source, number)}.npz", features=frames)


def _name(source: str, number: int) -> str:
    return f"{source}_s01e01_seg02_clip_{number:02d}"


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
