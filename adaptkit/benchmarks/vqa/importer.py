"""VQA v2: questions about the images of COCO with ten answers each (Goyal et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.benchmarks.benchmark import Benchmark, register
from adaptkit.benchmarks.json_items import id_of, json_list, text_of
from adaptkit.benchmarks.sources import MISSING_ALLOWED, download, folder_with, not_there
from adaptkit.benchmarks.visual_files import VisualFiles, clip_folders
from adaptkit.benchmarks.vqa.annotations import (
    Annotation,
    answers_of,
    common_answers,
    read_annotations,
    scored,
    type_of,
)
from adaptkit.benchmarks.vqa.synthesis import write_karpathy, write_official
from adaptkit.data.store_writer import StoreWriter
from adaptkit.errors import DataError

KARPATHY = {"train": "karpathy_train", "validation": "karpathy_val", "test": "karpathy_test"}
QUESTIONS = "v2_OpenEnded_mscoco_{}2014_questions.json"
ANNOTATIONS = "v2_mscoco_{}2014_annotations.json"
OFFICIAL = tuple(pattern.format(part) for part in ("train", "val") for pattern in (QUESTIONS, ANNOTATIONS))
FOLDERS = ("", "vqa", "VQA")
PICTURES = ("COCO/images", "images", "train2014", "val2014")
VALIDATION = 5000  # images whose questions are taken from train, for the official files; at most a tenth


@dataclass(frozen=True, slots=True)
class _Question:
    """One row. `answers`: those of the annotators, or what is learned of each answer."""

    id: str
    text: str
    image: str
    answers: Mapping[str, float] | tuple[str, ...]
    answer_type: str | None
    question_type: str | None


@register("vqa")
class VQA(Benchmark):
    """VQA v2: 658,111 questions about photographs with ten answers each.

    Open questions about images of COCO. Rows to train with have the answers that count with their scores, those to
    evaluate with the ten of the annotators.
    """

    name = "vqa"
    title = "VQA v2"
    description = "Open questions about photographs, answered in a word or two."
    url = "https://visualqa.org/download.html"
    task = 'kind = "generation", column = "answer"'
    shares_root = True
    columns: Mapping[str, str] = {
        "text": "text: the question",
        "image": "array (49, 2048): COCO/clip_features/data_clip_*_att/<image>.h5, or path of the picture",
        "answer": "target: in train the answers with their scores, else the ten of the annotators; answer_type",
        "answer_type": "label: yes/no, number or other",
        "question_type": "text: how the question begins",
    }
    variants: Mapping[str, str] = {
        "karpathy": "vqa/karpathy_{train,val,test}.json (VL-T5, VL-Adapter), and v2_mscoco_val2014_annotations.json",
        "official": "v2_OpenEnded_mscoco_{train,val}2014_questions.json and v2_mscoco_{train,val}2014_annotations.json",
    }

    def find(self, root: Path) -> str:
        """`karpathy` where VL-T5's files are, else `official`."""
        if folder_with(root, FOLDERS, [f"{name}.json" for name in KARPATHY.values()]):
            return "karpathy"
        if folder_with(root, FOLDERS, OFFICIAL):
            return "official"
        expected = f"karpathy_train, karpathy_val and karpathy_test.json, or {OFFICIAL[0]} with the other three, are"
        raise not_there(root, self.title, expected)

    def read(
        self,
        root: Path,
        writer: StoreWriter,
        variant: str,
        *,
        features: str = "",
        images: bool = False,
        missing: float = MISSING_ALLOWED,
        validation: int = 0,
        seed: int = 0,
        least: int = 9,
    ) -> None:
        """Question by question.

        Args:
            features: the model that made the vectors, where those of several lie there.
            images: read the pictures, although there are vectors.
            missing: the share of the images that may have no file.
            validation: official files: images whose questions are taken from train; 0: 5,000, at most a tenth.
            seed: of that choice.
            least: official files: an answer is learned where it is that of at least so many questions; 0: all are.
        """
        files = VisualFiles(
            root, writer, clip_folders(root, ("COCO",), features), pictures=PICTURES, images=images, missing=missing
        )
        files.columns(self.columns)
        writer.column("answer", "target", description=self.columns["answer"])
        writer.column("answer_type", "label", description=self.columns["answer_type"])
        writer.column("question_type", "text", description=self.columns["question_type"])
        splits = _karpathy(root, writer) if variant == "karpathy" else _official(root, writer, validation, seed, least)
        for split, questions in splits:
            kept = 0
            for question in questions:
                if not question.answers:
                    writer.note(f"{split}: questions none of whose answers counts are dropped")
                    continue
                kept += 1
                values = {name: getattr(question, name) for name in ("text", "answer_type", "question_type")}
                target = {"answers": question.answers, "answer_type": question.answer_type}
                writer.add(split, question.id, {**values, "image": files.named(question.image), "answer": target})
            if not kept:
                hint = f"Of a small part of VQA, take less common ones: --option least={min(4, least // 2)}."
                raise DataError(f"no question of {split} has an answer that counts.", where=str(root), hint=hint)
        files.finish()

    def synth(self, root: Path, *, variant: str = "karpathy", samples: int = 240, seed: int = 0) -> None:
        """Questions for the colour, the shape or the number of the things in an image, three an image.

        The image has all three, and the question says which of them is wanted; yes and no are equally often right.
        """
        (write_karpathy if variant == "karpathy" else write_official)(root, samples=samples, seed=seed)


def _karpathy(root: Path, writer: StoreWriter) -> Iterator[tuple[str, Iterator[_Question]]]:
    folder = download(root, VQA.title, FOLDERS, [f"{name}.json" for name in KARPATHY.values()])
    given = folder / ANNOTATIONS.format("val")
    annotations = read_annotations(given) if given.is_file() else {}
    if annotations:
        writer.source(given)
    for split, name in KARPATHY.items():
        path = folder / f"{name}.json"
        writer.source(path)
        yield split, (_of_karpathy(record, where, split, annotations) for where, record in json_list(path))


def _of_karpathy(record: Mapping[str, Any], where: str, split: str, annotations: Mapping[str, Annotation]) -> _Question:
    id = id_of(record, where, "question_id")
    found = annotations.get(id)
    if split == "train":
        answers = _label(record, where)
    elif found is not None or record.get("answers") is not None:
        answers = answers_of(record, where) if found is None else found.answers
    else:
        raise DataError(
            f"the answers of the annotators to question {id} are not known.",
            where=where,
            hint=f"Put {ANNOTATIONS.format('val')} beside it (visualqa.org).",
        )
    types = (type_of(record, name) or getattr(found, name, None) for name in ("answer_type", "question_type"))
    text, image = text_of(record, where, "sent", "question"), id_of(record, where, "img_id")
    return _Question(id, text, image, answers, *types)


def _label(record: Mapping[str, Any], where: str) -> dict[str, float]:
    """`label`: {"net": 1, "mesh": 0.3}; empty where no answer counts."""
    label = record.get("label")
    if not isinstance(label, dict) or not all(map(_is_score, label.values())):
        raise DataError(f"label is {str(label)[:60]}, not an object of answers with scores 0..1.", where=where)
    return {answer: float(score) for answer, score in label.items() if score > 0 and answer}


def _is_score(score: Any) -> bool:
    return isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1


def _official(
    root: Path, writer: StoreWriter, validation: int, seed: int, least: int
) -> Iterator[tuple[str, Iterator[_Question]]]:
    folder = download(root, VQA.title, FOLDERS, OFFICIAL)
    for name in OFFICIAL:
        writer.source(folder / name)
    annotations = {part: read_annotations(folder / ANNOTATIONS.format(part)) for part in ("train", "val")}
    vocabulary = common_answers(list(annotations.values()), least)
    if vocabulary is not None:
        writer.note(f"answers that count: those of {least} questions or more", len(vocabulary))
    held = _drawn_images(annotations["train"], validation, seed)
    writer.note(f"validation: the questions of images drawn from train, seed {seed} (images)", len(held))
    writer.note("test holds the questions of val2014, whose answers are public")
    for split, part in (("train", "train"), ("validation", "train"), ("test", "val")):
        wanted = {"train": lambda image: image not in held, "validation": held.__contains__}.get(split, lambda _: True)
        questions = json_list(folder / QUESTIONS.format(part), "questions")
        rows = (_of_official(record, where, part, annotations[part]) for where, record in questions)
        chosen = ((question, found) for question, found in rows if wanted(found.image))
        yield split, (_answered(question, found, split, vocabulary) for question, found in chosen)


def _drawn_images(annotations: Mapping[str, Annotation], count: int, seed: int) -> set[int]:
    images = sorted({found.image for found in annotations.values()})
    count = count or max(1, min(VALIDATION, len(images) // 10))
    if not 0 < count < len(images):
        raise DataError(f"{count} validation images cannot be drawn from {len(images)}.", where="validation")
    rng = np.random.default_rng((seed, 9701))
    return {images[i] for i in rng.permutation(len(images))[:count]}


def _of_official(
    record: Mapping[str, Any], where: str, part: str, annotations: Mapping[str, Annotation]
) -> tuple[_Question, Annotation]:
    id = id_of(record, where, "question_id")
    found = annotations.get(id)
    if found is None:
        raise DataError(f"question {id} has no annotation.", where=where, hint="Fetch both files of the same version.")
    image = f"COCO_{part}2014_{found.image:012d}"
    question = _Question(id, text_of(record, where, "question"), image, (), found.answer_type, found.question_type)
    return question, found


def _answered(question: _Question, found: Annotation, split: str, vocabulary: frozenset[str] | None) -> _Question:
    answers = scored(found.answers, vocabulary) if split == "train" else found.answers
    return _Question(question.id, question.text, question.image, answers, found.answer_type, found.question_type)
