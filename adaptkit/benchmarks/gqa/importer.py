"""GQA: compositional questions about the images of Visual Genome, one answer each (Hudson and Manning 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adaptkit.benchmarks.benchmark import Benchmark, register
from adaptkit.benchmarks.gqa.synthesis import write_gqa
from adaptkit.benchmarks.json_items import id_of, json_list, json_table, text_of
from adaptkit.benchmarks.sources import MISSING_ALLOWED, download, folder_with, not_there
from adaptkit.benchmarks.visual_files import VisualFiles, clip_folders
from adaptkit.data.store_writer import StoreWriter
from adaptkit.errors import DataError

FILES = {
    "vlt5": ("train.json", "valid.json", "testdev.json"),
    "official": ("train_balanced_questions.json", "val_balanced_questions.json", "testdev_balanced_questions.json"),
}
FOLDERS = ("GQA", "", "questions", "GQA/questions", "questions1.2")
FIELDS = ("types", "isBalanced", "entailed")  # what accuracies of a part, and consistency, ask for
PICTURES = ("VG/images", "GQA/images", "images")


@register("gqa")
class GQA(Benchmark):
    """GQA: about a million balanced questions on the scenes of photographs; one answer each.

    Questions that follow from scene graphs, with the answer in a word and, in the official files, in a sentence.
    """

    name = "gqa"
    title = "GQA"
    description = "Compositional questions about photographs with one answer each."
    url = "https://cs.stanford.edu/people/dorarad/gqa/download.html"
    task = 'kind = "generation", column = "answer"'
    shares_root = True
    columns: Mapping[str, str] = {
        "text": "text: the question",
        "image": "array (49, 2048): {VG,GQA}/clip_features/data_clip_*_att/<image>.h5, or path of the picture",
        "answer": "target: the one that is right, question_id; official files: types, isBalanced, entailed",
        "full_answer": "text: it as a sentence (official)",
        "question_type": "label: query, verify, logical, choose or compare (official)",
    }
    variants: Mapping[str, str] = {
        "vlt5": "GQA/{train,valid,testdev}.json of VL-T5 and VL-Adapter",
        "official": "{train,val,testdev}_balanced_questions.json",
    }

    def find(self, root: Path) -> str:
        """`vlt5` or `official`.

        Raises:
            DataError: the files of neither lie here, or those of both.
        """
        found = [variant for variant, names in FILES.items() if folder_with(root, FOLDERS, names)]
        if len(found) > 1:
            hint = "Say which: --variant vlt5 or --variant official."
            raise DataError("both VL-T5's files and the official ones lie here.", where=str(root), hint=hint)
        if not found:
            raise not_there(root, self.title, "GQA/{train,valid,testdev}.json or *_balanced_questions.json are")
        return found[0]

    def read(
        self,
        root: Path,
        writer: StoreWriter,
        variant: str,
        *,
        features: str = "",
        images: bool = False,
        missing: float = MISSING_ALLOWED,
        merge: bool = False,
    ) -> None:
        """Question by question.

        Args:
            features: the model that made the vectors, where those of several lie there.
            images: read the pictures, although there are vectors.
            missing: the share of the images that may have no file.
            merge: train on train and valid, as published, which leaves testdev for validation and for the test.
        """
        folder = download(root, self.title, FOLDERS, FILES[variant])
        homes = ("VG", "GQA")
        files = VisualFiles(
            root, writer, clip_folders(root, homes, features), pictures=PICTURES, images=images, missing=missing
        )
        official = variant == "official"
        files.columns(self.columns)
        writer.column("answer", "target", description=self.columns["answer"])
        if official:
            writer.column("full_answer", "text", description=self.columns["full_answer"])
            writer.column("question_type", "label", description=self.columns["question_type"])
        for name in FILES[variant]:
            writer.source(folder / name)
        train, valid, testdev = FILES[variant]
        sources = {"train": [train], "validation": [valid], "test": [testdev]}
        if merge:
            sources |= {"train": [train, valid], "validation": [testdev]}
            writer.note("valid is in train, as published; validation and test are both testdev")
        read = _official if official else _of_vlt5
        for split, names in sources.items():
            for name in names:
                for id, image, values in read(folder / name):
                    writer.add(split, id, {**values, "image": files.named(image)})
        files.finish()

    def synth(self, root: Path, *, variant: str = "vlt5", samples: int = 240, seed: int = 0) -> None:
        """Questions for the colour, the shape or the number of the things in an image, three an image.

        The image has all three, and the question says which of them is wanted; yes and no are equally often right.
        """
        write_gqa(root, variant=variant, samples=samples, seed=seed)


def _of_vlt5(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(id, image, values) of each question of a list with `label`: {answer: 1.0}."""
    for where, record in json_list(path):
        label = record.get("label")
        if not isinstance(label, dict) or not label:
            raise DataError(f"label is {str(label)[:60]}, not an object with the answer.", where=where)
        id = id_of(record, where, "question_id")
        target = {"answers": label if len(label) > 1 else next(iter(label)), "question_id": id}
        yield id, id_of(record, where, "img_id"), {"text": text_of(record, where, "sent", "question"), "answer": target}


def _official(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(id, image, values) of each question of an object id -> question."""
    for where, id, record in json_table(path):
        types = record.get("types")
        structural = types.get("structural") if isinstance(types, dict) else None
        full = record.get("fullAnswer")
        fields = {name: record[name] for name in FIELDS if record.get(name) is not None}
        yield (
            id,
            id_of(record, where, "imageId"),
            {
                "text": text_of(record, where, "question"),
                "answer": {"answers": text_of(record, where, "answer"), "question_id": id, **fields},
                "full_answer": full if isinstance(full, str) else None,
                "question_type": structural if isinstance(structural, str) else None,
            },
        )
