"""NLVR: is a sentence true of a drawing of boxes with things in them (Suhr et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from adaptkit.benchmarks.benchmark import Benchmark, register
from adaptkit.benchmarks.json_items import id_of, text_of
from adaptkit.benchmarks.nlvr.nlvr2 import truth
from adaptkit.benchmarks.nlvr.synthesis import write_nlvr
from adaptkit.benchmarks.sources import (
    MISSING_ALLOWED,
    CheckedFiles,
    Missing,
    folder_with,
    json_lines,
    not_there,
    picture_fault,
)
from adaptkit.data.store_writer import StoreWriter
from adaptkit.errors import DataError

SPLITS = {"train": "train", "dev": "validation", "test": "test", "hidden": "test_hidden"}
NEEDED = ("train", "dev", "test")
FOLDERS = ("nlvr", "")
ORDERS = 6  # of the three boxes


@register("nlvr")
class NLVR(Benchmark):
    """NLVR: 92,244 pairs of a sentence that a person wrote and a drawing; true or false. Free to use (CC-BY-4.0).

    Every sentence comes with six drawings, which differ in the order of their three boxes. A clone of the repository is
    the download: git clone https://github.com/lil-lab/nlvr
    """

    name = "nlvr"
    title = "NLVR"
    description = "Whether a sentence is true of a drawing of boxes with things in them."
    url = "https://github.com/lil-lab/nlvr"
    task = 'kind = "generation", column = "answer", decode = { choices = ["true", "false"] }'
    shares_root = True
    columns: Mapping[str, str] = {
        "text": "text: the sentence",
        "image": "path of the drawing, 400 x 100",
        "answer": 'label: "true" or "false"',
    }
    variants: Mapping[str, str] = {"repository": "nlvr/{train,dev,test}/*.json and images, as in the git repository"}

    def find(self, root: Path) -> str:
        """`repository`, the only one."""
        if _folder(root) is None:
            raise not_there(root, self.title, "nlvr/{train,dev,test}/{train,dev,test}.json are")
        return "repository"

    def read(
        self, root: Path, writer: StoreWriter, variant: str, *, orders: int = ORDERS, missing: float = MISSING_ALLOWED
    ) -> None:
        """A row for each drawing; its id is the name of the picture, `dev-1572-0-3`.

        Args:
            orders: how many of the six drawings of a sentence are taken.
            missing: the share of the drawings that may be missing.
        """
        folder = _folder(root)
        if folder is None:
            raise not_there(root, self.title, "nlvr/{train,dev,test}/{train,dev,test}.json are")
        if not 1 <= orders <= ORDERS:
            raise DataError(f"orders is {orders}, not 1 to {ORDERS}.", where="orders")
        for name, kind in (("text", "text"), ("image", "path"), ("answer", "label")):
            writer.column(name, kind, description=self.columns[name])
        pictures = CheckedFiles(root, "image", writer, picture_fault, "drawings", Missing(missing))
        for part, split in SPLITS.items():
            source = folder / part / f"{part}.json"
            if part not in NEEDED and not source.is_file():
                continue
            writer.source(source)
            for id, image, text, answer in _drawings(source, orders):
                writer.add(split, id, {"text": text, "image": pictures.path(image), "answer": answer})
        pictures.finish()

    def synth(self, root: Path, *, variant: str = "repository", samples: int = 240, seed: int = 0) -> None:
        """Sentences about the colour or the shape of what lies in the boxes, half of them true; six drawings each."""
        write_nlvr(root, samples=samples, seed=seed)


def _folder(root: Path) -> Path | None:
    return folder_with(root, FOLDERS, [f"{part}/{part}.json" for part in NEEDED])


def _drawings(source: Path, orders: int) -> Iterator[tuple[str, Path, str, str]]:
    """(id, picture, sentence, answer) of every drawing of a split."""
    part, folders = source.stem, sorted(path for path in (source.parent / "images").glob("*") if path.is_dir())
    for where, record in json_lines(source):
        name, text, answer = (
            id_of(record, where, "identifier"),
            text_of(record, where, "sentence"),
            truth(record, where),
        )
        first = f"{part}-{name}-0.png"
        if record.get("directory") is not None:
            folder = source.parent / "images" / id_of(record, where, "directory")
        else:  # the hidden split does not say where
            folder = next((found for found in folders if (found / first).is_file()), source.parent / "images")
        for order in range(orders):
            id = f"{part}-{name}-{order}"
            yield id, folder / f"{id}.png", text, answer
