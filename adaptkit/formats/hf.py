"""`hf`: a folder of Hugging Face `datasets`, whose Arrow files are memory-mapped as they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adaptkit.data.lazy_arrow import ArrowRows
from adaptkit.data.paths import inside
from adaptkit.data.rows import FORMATS, Column, SplitRows
from adaptkit.errors import DataError, nearest
from adaptkit.formats.arrow_rows import ArrowTable
from adaptkit.formats.jsonl import SPLITS
from adaptkit.formats.parquet import checked_table
from adaptkit.formats.tables import HuggingFace
from adaptkit.formats.values import Presence, manifest_of, root_of


@FORMATS.register("hf", table=HuggingFace)
def read_hf(data: HuggingFace, base: Path, columns: tuple[Column, ...]) -> SplitRows:
    """A folder that `DatasetDict.save_to_disk` wrote. Class labels become their names; images stay as they are.

    Raises:
        DataError: it is something else, or a split or column is not there, or a value is absent or wrong.
    """
    root = root_of(data.root, base)
    there = [file.parent.name for file in root.glob("*/state.json")]
    splits, classes, further, digest = {}, {}, [], hashlib.sha256()
    for split in SPLITS:
        folder = manifest_of(data, split, root)
        if not (folder / "state.json").is_file():
            raise DataError(
                f"{root} has no split {folder.name!r} written by save_to_disk.",
                where=f"data.{split}",
                hint=nearest(folder.name, there),
            )
        files, features, fingerprint = _described(folder)
        Presence(columns).check_columns(features, folder.name)
        names = {column.name for column in columns} | ({"id"} & features.keys())
        kept = [name for name in features if name in names]
        rows = ArrowRows(files, kept)
        labels = {name: found for name in kept if (found := classes_of(features[name]))}
        decode = {name: ClassNames(found) for name, found in labels.items()}
        splits[split] = checked_table(ArrowTable(rows, columns, root, folder.name, decode=decode))
        classes |= labels
        further += files
        sizes = [file.stat().st_size for file in files]
        digest.update(f"{split} {fingerprint} {sizes} {sorted(labels.items())}\n".encode())
    counts = ", ".join(f"{split} {len(rows):,}" for split, rows in splits.items())
    told = f"Hugging Face data set in {root} ({counts})"
    return SplitRows(splits, f"sha256:{digest.hexdigest()}", told, classes, further)


class ClassNames:
    """From the numbers of class labels to their names."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def __call__(self, cell: Any, column: Column, where: str) -> Any:
        if isinstance(cell, list):
            return [self(item, column, where) for item in cell]
        return self.names[cell] if isinstance(cell, int) and 0 <= cell < len(self.names) else None


def _described(folder: Path) -> tuple[list[Path], Mapping[str, Any], str]:
    """The Arrow files of a split, its features, and the fingerprint of its contents."""
    where = str(folder)
    try:
        inner = folder.resolve()
        state, info = (
            json.loads(inside(inner, name, name, where).read_text(encoding="utf-8"))
            for name in ("state.json", "dataset_info.json")
        )
        features = info["features"]
        names = [entry["filename"] for entry in state["_data_files"]]
        if state.get("_indices_files"):
            raise DataError("the rows are a selection that was not flattened.", where=where, hint="Save it again.")
        files = [inside(inner, name, "state.json", where) for name in names]
        return files, features, str(state["_fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"is not a split written by save_to_disk: {error}.", where=where) from None


def classes_of(feature: Any) -> list[str]:
    """The names of class labels, of one or of a list of them; empty for other features."""
    if isinstance(feature, list):
        feature = feature[0] if feature else None
    while isinstance(feature, Mapping) and isinstance(feature.get("feature"), Mapping):
        feature = feature["feature"]
    if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel":
        return [str(name) for name in feature["names"]]
    return []
