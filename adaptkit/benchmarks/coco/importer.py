"""COCO captions: five captions for each of 123,287 photographs (Chen et al. 2015), in Karpathy's splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from adaptkit.benchmarks.benchmark import Benchmark, register
from adaptkit.benchmarks.coco.synthesis import write_coco
from adaptkit.benchmarks.json_items import json_list, text_of, texts_of
from adaptkit.benchmarks.sources import MISSING_ALLOWED, download, file_name
from adaptkit.benchmarks.visual_files import VisualFiles, clip_folders
from adaptkit.data.store_writer import StoreWriter
from adaptkit.errors import DataError

FILE = "dataset_coco.json"
SPLITS = {"train": "train", "restval": "train", "val": "validation", "test": "test"}
FOLDERS = ("COCO", "", "annotations")
PICTURES = ("COCO/images", "images", "train2014", "val2014")


@register("coco_captions")
class CocoCaptions(Benchmark):
    """COCO captions: 123,287 photographs with five captions each, in Karpathy's splits.

    A row to train with has one caption, one to evaluate with all of them.
    """

    name = "coco_captions"
    title = "COCO captions"
    description = "What a photograph shows, in a sentence."
    url = "https://cs.stanford.edu/people/karpathy/deepimagesent"
    task = 'kind = "generation", column = "captions"'
    shares_root = True
    columns: Mapping[str, str] = {
        "text": "text: empty; a recipe's prompt stands alone",
        "image": "array (49, 2048): COCO/clip_features/data_clip_*_att/<image>.h5, or path of the picture",
        "captions": "texts: in train one, else all",
    }
    variants: Mapping[str, str] = {"karpathy": "dataset_coco.json, in COCO or beside the pictures"}

    def find(self, root: Path) -> str:
        """`karpathy`, the only one."""
        download(root, self.title, FOLDERS, [FILE])
        return "karpathy"

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
        """Image by image. Those that Karpathy calls restval are in train, as published.

        Args:
            features: the model that made the vectors, where those of several lie there.
            images: read the pictures, although there are vectors.
            missing: the share of the images that may have no file.
        """
        folder = download(root, self.title, FOLDERS, [FILE])
        files = VisualFiles(
            root, writer, clip_folders(root, ("COCO",), features), pictures=PICTURES, images=images, missing=missing
        )
        writer.source(folder / FILE)
        files.columns(self.columns)
        writer.column("captions", "texts", description=self.columns["captions"])
        for where, record in json_list(folder / FILE, "images"):
            split = SPLITS.get(text_of(record, where, "split"))
            if split is None:
                raise DataError(f"the split {record['split']!r} is not one of {', '.join(SPLITS)}.", where=where)
            name = file_name(text_of(record, where, "filename"), where).rpartition(".")[0]
            captions = texts_of(record, where, "sentences", "raw")
            groups = [[caption] for caption in captions] if split == "train" else [captions]
            for number, group in enumerate(groups):
                id = f"{name}#{number}" if split == "train" else name
                writer.add(split, id, {"text": "", "image": files.named(name), "captions": group})
        files.finish()

    def synth(self, root: Path, *, variant: str = "karpathy", samples: int = 240, seed: int = 0) -> None:
        """Captions say the number, the colour and the shape of the things in an image; five an image."""
        write_coco(root, samples=samples, seed=seed)
