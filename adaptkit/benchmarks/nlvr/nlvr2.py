"""NLVR2: is a sentence true of two photographs (Suhr et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adaptkit.benchmarks.benchmark import Benchmark, register
from adaptkit.benchmarks.json_items import id_of, json_list, text_of
from adaptkit.benchmarks.nlvr.synthesis import write_nlvr2
from adaptkit.benchmarks.sources import MISSING_ALLOWED, download, folder_with, json_lines, not_there
from adaptkit.benchmarks.visual_files import VisualFiles, clip_folders
from adaptkit.data.store_writer import StoreWriter
from adaptkit.errors import DataError

FILES = {
    "vlt5": {"train": "train.json", "validation": "valid.json", "test": "test.json"},
    "official": {"train": "train.json", "validation": "dev.json", "test": "test1.json"},
}
HIDDEN = "test2.json"  # released later
FOLDERS = {"vlt5": ("nlvr", "", "nlvr2"), "official": ("", "data", "nlvr2/data", "nlvr")}
PICTURES = ("nlvr/images", "images", "nlvr2/images", "train", "dev", "test1")


@register("nlvr2")
class NLVR2(Benchmark):
    """NLVR2: 107,292 sentences about two photographs, true or false.

    Both photographs are a part of every question, as one sequence of vectors or as two pictures.
    """

    name = "nlvr2"
    title = "NLVR2"
    description = "Whether a sentence is true of two photographs."
    url = "https://github.com/lil-lab/nlvr"
    task = 'kind = "generation", column = "answer", decode = { choices = ["true", "false"] }'
    shares_root = True
    columns: Mapping[str, str] = {
        "text": "text: the sentence",
        "image": "arrays (49, 2048) twice, left then right: nlvr/clip_features/data_clip_*_att/<image>.h5",
        "left": "array or path of the left photograph",
        "right": "array or path of the right photograph",
        "answer": 'target: "true" or "false", and the identifier',
        "label": 'label: "true" or "false"',
    }
    variants: Mapping[str, str] = {
        "vlt5": "nlvr/{train,valid,test}.json of VL-T5 and VL-Adapter",
        "official": "{train,dev,test1}.json of the repository, in `nlvr2/data` or beside the pictures",
    }

    def find(self, root: Path) -> str:
        """`vlt5` where valid.json is, else `official`."""
        for variant, files in FILES.items():
            if folder_with(root, FOLDERS[variant], [*files.values()]):
                return variant
        raise not_there(root, self.title, "nlvr/{train,valid,test}.json or {train,dev,test1}.json are")

    def read(
        self,
        root: Path,
        writer: StoreWriter,
        variant: str,
        *,
        features: str = "",
        images: bool = False,
        missing: float = MISSING_ALLOWED,
    ) -> None:
        """Sentence by sentence. Ids are the published identifiers, by which consistency groups them.

        Args:
            features: the model that made the vectors, where those of several lie there.
            images: read the pictures, although there are vectors.
            missing: the share of the images that may have no file.
        """
        folder = download(root, self.title, FOLDERS[variant], [*FILES[variant].values()])
        files = VisualFiles(
            root, writer, clip_folders(root, ("nlvr",), features), pictures=PICTURES, images=images, missing=missing
        )
        vectors = files.kind == "array"
        writer.column("text", "text", description=self.columns["text"])
        if vectors:
            writer.column("image", "arrays", width=files.width, description=self.columns["image"])
        for side in ("left", "right"):
            writer.column(side, files.kind, width=files.width or None, description=self.columns[side])
        writer.column("answer", "target", description=self.columns["answer"])
        writer.column("label", "label", description=self.columns["label"])
        splits = dict(FILES[variant])
        if variant == "official" and (folder / HIDDEN).is_file():
            splits["test_hidden"] = HIDDEN
        for split, name in splits.items():
            writer.source(folder / name)
            for id, sides, values in (_of_vlt5 if variant == "vlt5" else _official)(folder / name):
                left, right = map(files.named, sides)
                both = [left, right] if left is not None and right is not None else None
                named = {"left": left, "right": right, **({"image": both} if vectors else {})}
                target = {"answers": values["label"], "identifier": id}
                writer.add(split, id, {**values, **named, "answer": target})
        files.finish()

    def synth(self, root: Path, *, variant: str = "vlt5", samples: int = 240, seed: int = 0) -> None:
        """Sentences about the colour, the shape or the number of the things on one side, half of them true."""
        write_nlvr2(root, variant=variant, samples=samples, seed=seed)


Row = tuple[str, tuple[str, str], dict[str, Any]]


def _of_vlt5(path: Path) -> Iterator[Row]:
    for where, record in json_list(path):
        label = record.get("label")
        if label not in (0, 1):
            raise DataError(f"label is {label!r}, not 0 or 1.", where=where)
        sides = id_of(record, where, "img0"), id_of(record, where, "img1")
        values = {"text": text_of(record, where, "sent"), "label": "true" if label else "false"}
        yield id_of(record, where, "identifier", "uid"), sides, values


def _official(path: Path) -> Iterator[Row]:
    for where, record in json_lines(path):
        id = id_of(record, where, "identifier")
        pair, mark, _ = id.rpartition("-")  # split-set-pair-sentence
        if not mark or pair.count("-") < 2:
            raise DataError(f"the identifier {id!r} is not split-set-pair-sentence.", where=where)
        values = {"text": text_of(record, where, "sentence"), "label": truth(record, where)}
        yield id, (f"{pair}-img0", f"{pair}-img1"), values


def truth(record: Mapping[str, Any], where: str) -> str:
    """ "true" or "false" of a label in any case.

    Raises:
        DataError: it is something else.
    """
    label = str(record.get("label")).lower()
    if label not in ("true", "false"):
        raise DataError(f"label is {record.get('label')!r}, not true or false.", where=where)
    return label
