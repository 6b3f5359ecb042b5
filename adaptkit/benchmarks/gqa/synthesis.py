"""A small GQA in its two published forms, whose answers need both question and image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adaptkit.benchmarks.scenes import PER_IMAGE, Asked, asked, images, write_features, write_picture

VLT5 = {"train": ("train", "VG"), "dev": ("valid", "VG"), "test": ("testdev", "GQA")}
OFFICIAL = {"train": "train", "dev": "val", "test": "testdev"}
TURN = 10  # other questions than those of VQA on the same images


def write_gqa(root: Path, *, variant: str, samples: int, seed: int) -> None:
    """Ids of questions have leading zeros; images of testdev are n1, n2, .. and lie elsewhere than the others."""
    for part, numbers in images(samples).items():
        name, home = VLT5[part]
        found = [(number, turn, asked(number, TURN + turn, seed)) for number in numbers for turn in range(PER_IMAGE)]
        if variant == "vlt5":
            (root / "GQA").mkdir(parents=True, exist_ok=True)
            rows = [_row(part, *one) for one in found]
            (root / "GQA" / f"{name}.json").write_text(json.dumps(rows))
            for number in numbers:
                folder = root / home / "clip_features" / "data_clip_RN101_att"
                write_features(folder, _image(part, number), number, seed)
        else:
            root.mkdir(parents=True, exist_ok=True)
            table = {_id(number, turn): _official(part, number, question) for number, turn, question in found}
            (root / f"{OFFICIAL[part]}_balanced_questions.json").write_text(json.dumps(table))
            for number in numbers:
                write_picture(root / "images" / f"{_image(part, number)}.jpg", number, seed)


def _id(number: int, turn: int) -> str:
    return f"{number * 10 + turn:08d}"


def _image(part: str, number: int) -> str:
    return f"n{number}" if part == "test" else str(2300000 + number)


def _row(part: str, number: int, turn: int, question: Asked) -> dict[str, Any]:
    label = {question.answer: 1.0}
    return {"img_id": _image(part, number), "label": label, "question_id": _id(number, turn), "sent": question.text}


def _official(part: str, number: int, question: Asked) -> dict[str, Any]:
    verify = question.answer in ("yes", "no")
    return {
        "semantic": [],
        "entailed": [],
        "equivalent": [],
        "question": question.text,
        "imageId": _image(part, number),
        "isBalanced": True,
        "groups": {"global": question.about, "local": None},
        "answer": question.answer,
        "semanticStr": "",
        "annotations": {},
        "types": {"detailed": question.about, "semantic": "attr", "structural": "verify" if verify else "query"},
        "fullAnswer": f"{question.answer.capitalize()}, it is." if verify else f"It is {question.answer}.",
    }
