"""The annotators' answers of VQA v2: ten to every question, and how right each makes an answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Any

from adaptkit.benchmarks.json_items import id_of, json_list, text_of
from adaptkit.errors import DataError
from adaptkit.tasks.text_metrics.vqa import normalised

RIGHT = {1: 0.3, 2: 0.6, 3: 0.9}  # of ten annotators, so many gave the answer; more: 1


@dataclass(frozen=True, slots=True)
class Annotation:
    """What the annotators said about one question.

    Attributes:
        answers: as they gave them, usually ten.
        answer_type: "yes/no", "number" or "other".
        question_type: how the question begins.
        image: its number in COCO.
    """

    answers: tuple[str, ...]
    answer_type: str | None
    question_type: str | None
    image: int


def read_annotations(path: Path) -> dict[str, Annotation]:
    """Question -> annotation, of v2_mscoco_*_annotations.json; equal texts are one object in memory.

    Raises:
        DataError: an annotation that is none.
    """
    found: dict[str, Annotation] = {}
    for where, record in json_list(path, "annotations"):
        image = record.get("image_id")
        if not isinstance(image, int) or isinstance(image, bool):
            raise DataError(f"image_id is {image!r}, not a number.", where=where)
        answers = answers_of(record, where)
        kind, begins = type_of(record, "answer_type"), type_of(record, "question_type")
        found[id_of(record, where, "question_id")] = Annotation(answers, kind, begins, image)
    return found


def answers_of(record: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The texts in `answers`: [{"answer": ..., "answer_id": ...}, ...].

    Raises:
        DataError: there is no such list.
    """
    listed = record.get("answers")
    if not isinstance(listed, list) or not listed or not all(isinstance(entry, dict) for entry in listed):
        raise DataError("a list `answers` of objects is expected.", where=where)
    return tuple(intern(text_of(entry, where, "answer")) for entry in listed)


def scored(answers: Sequence[str], vocabulary: frozenset[str] | None) -> dict[str, float]:
    """Normalised answer -> how right it is, as published for training: 0.3, 0.6, 0.9 and 1 for 1, 2, 3 and more of ten.

    Args:
        answers: of the annotators.
        vocabulary: the answers that count; None: all.
    """
    counts = Counter(filter(None, map(normalised, answers)))
    return {
        answer: RIGHT.get(count, 1.0) for answer, count in counts.items() if vocabulary is None or answer in vocabulary
    }


def common_answers(annotations: Sequence[Mapping[str, Annotation]], least: int) -> frozenset[str] | None:
    """The answers that most annotators of at least so many questions gave; None where `least` is 0: no limit.

    Published (3,129 answers of train and validation, given to 9 questions or more).
    """
    if not least:
        return None
    counts = Counter[str]()
    for each in annotations:
        counts.update(normalised(Counter(found.answers).most_common(1)[0][0]) for found in each.values())
    return frozenset(answer for answer, count in counts.items() if count >= least)


def type_of(record: Mapping[str, Any], name: str) -> str | None:
    """The text of this name, if there is one; equal ones are one object."""
    found = record.get(name)
    return intern(found) if isinstance(found, str) else None
