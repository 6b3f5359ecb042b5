"""A small VQA v2 in its two published forms, whose answers need both question and image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.benchmarks.scenes import PER_IMAGE, Asked, asked, images, write_features, write_picture

KARPATHY = {"train": ("karpathy_train", "train"), "dev": ("karpathy_val", "val"), "test": ("karpathy_test", "val")}
SECOND = {"red": "dark red", "green": "light green", "blue": "navy", "yellow": "gold"}  # what some annotators say


def write_karpathy(root: Path, *, samples: int, seed: int) -> None:
    """vqa/karpathy_*.json, the annotations of val2014, and a feature file for every image."""
    (root / "vqa").mkdir(parents=True, exist_ok=True)
    annotated: list[dict[str, Any]] = []
    for part, numbers in images(samples).items():
        name, coco = KARPATHY[part]
        rows = []
        for number, turn, question in _questions(numbers, seed):
            image = f"COCO_{coco}2014_{number:012d}"
            answers = _ten(question, number, turn, seed)
            label = {answer: {1: 0.3, 2: 0.6, 3: 0.9}.get(n, 1) for answer, n in _counts(answers).items()}
            rows.append(
                {
                    "answer_type": question.answer_type,
                    "img_id": image,
                    "label": label,
                    "question_id": number * 1000 + turn,
                    "question_type": " ".join(question.text.lower().split()[:2]),
                    "sent": question.text,
                }
            )
            if coco == "val":
                annotated.append(_annotation(number, turn, question, answers))
        (root / "vqa" / f"{name}.json").write_text(json.dumps(rows))
        for number in numbers:
            folder = root / "COCO" / "clip_features" / "data_clip_RN101_att"
            write_features(folder, f"COCO_{coco}2014_{number:012d}", number, seed)
    _write(root / "vqa" / "v2_mscoco_val2014_annotations.json", "annotations", annotated)


def write_official(root: Path, *, samples: int, seed: int) -> None:
    """The question and annotation files of train2014 and val2014, and the pictures."""
    root.mkdir(parents=True, exist_ok=True)
    parts = images(samples)
    for coco, numbers in {"train": [*parts["train"], *parts["dev"]], "val": [*parts["test"]]}.items():
        found = list(_questions(numbers, seed))
        questions = [
            {"image_id": number, "question": question.text, "question_id": number * 1000 + turn}
            for number, turn, question in found
        ]
        _write(root / f"v2_OpenEnded_mscoco_{coco}2014_questions.json", "questions", questions)
        annotations = [_annotation(*one, _ten(one[2], one[0], one[1], seed)) for one in found]
        _write(root / f"v2_mscoco_{coco}2014_annotations.json", "annotations", annotations)
        for number in numbers:
            write_picture(root / f"{coco}2014" / f"COCO_{coco}2014_{number:012d}.jpg", number, seed)


def _questions(numbers: Any, seed: int) -> Iterator[tuple[int, int, Asked]]:
    return ((number, turn, asked(number, turn, seed)) for number in numbers for turn in range(PER_IMAGE))


def _ten(question: Asked, number: int, turn: int, seed: int) -> list[str]:
    """Eight or nine who say what is right, the others something near it, if there is such a thing."""
    rng = np.random.default_rng((seed, 9605, number, turn))
    others = int(rng.integers(1, 3)) if question.answer in SECOND else 0
    return [question.answer] * (10 - others) + [SECOND.get(question.answer, "")] * others


def _counts(answers: list[str]) -> dict[str, int]:
    return {answer: answers.count(answer) for answer in dict.fromkeys(answers)}


def _annotation(number: int, turn: int, question: Asked, answers: list[str]) -> dict[str, Any]:
    return {
        "question_type": " ".join(question.text.lower().split()[:2]),
        "multiple_choice_answer": question.answer,
        "answers": [
            {"answer": answer, "answer_confidence": "yes", "answer_id": n} for n, answer in enumerate(answers, start=1)
        ],
        "image_id": number,
        "answer_type": question.answer_type,
        "question_id": number * 1000 + turn,
    }


def _write(path: Path, key: str, entries: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps({"info": {"version": "2.0"}, "data_type": "mscoco", key: entries}))
