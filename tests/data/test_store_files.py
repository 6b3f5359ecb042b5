"""Columns of stores that name arrays in files, and targets of several answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptkit.benchmarks.stores import StoreTable
from adaptkit.data.checking import check_store
from adaptkit.data.paths import ArrayPath
from adaptkit.data.rows import FORMATS, Column
from adaptkit.data.store import Store, StoreWriter, open_store
from adaptkit.errors import DataError
from adaptkit.formats.tables import Jsonl
from adaptkit.modalities.features.encoder import FeaturesEncoder
from adaptkit.recipe import cells

LEFT, RIGHT = np.full((2, 3), 1.0, np.float32), np.full((1, 3), 2.0, np.float32)
TEN = {"answers": ["net"] * 7 + ["mesh", "mesh", "fence"], "answer_type": "other"}


def written(root: Path, **values: Any) -> Store:
    with StoreWriter(root / "adaptkit", format="vqa", root=root) as writer:
        for name, kind in (("image", "array"), ("both", "arrays"), ("answer", "target"), ("captions", "texts")):
            writer.column(name, kind, width=3)
        writer.add("train", "a", values)
        writer.add("train", "b", {})
    return open_store(root / "adaptkit")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "f").mkdir(parents=True)
    np.savez_compressed(folder / "f" / "left.npz", features=LEFT, ids=np.arange(2))
    np.save(folder / "f" / "right.npy", RIGHT)
    (tmp_path / "secret.npy").write_bytes((folder / "f" / "right.npy").read_bytes())
    return folder


def test_arrays_in_files_and_answers_come_back(root: Path) -> None:
    store = written(
        root,
        image="f/left.npz::features",
        both=["f/left.npz::features", "f/right.npy"],
        answer=TEN,
        captions=["a net", "a fence"],
    )
    columns = tuple(Column(name, cells.ARRAY, required=False) for name in store.columns)
    rows = StoreTable(store, "train", columns)
    left, right = ArrayPath(root / "f" / "left.npz", "features"), root / "f" / "right.npy"
    assert rows[0].values == {"image": left, "both": [left, right], "answer": TEN, "captions": ["a net", "a fence"]}
    assert rows[1].values == dict.fromkeys(store.columns)
    assert list(rows.files(["image", "both"])) == [left.file, left.file, right]
    encoder = FeaturesEncoder(3, name="image")
    assert np.array_equal(encoder.prepare(left, "s"), LEFT)
    assert np.array_equal(encoder.prepare([left, right], "s"), np.concatenate([LEFT, RIGHT]))
    assert encoder.length([left, right]) == 3
    found = check_store(store)
    assert not found.problems
    assert found.splits["train"]["columns"]["answer"] == {
        "kind": "target", "present": 1, "missing": 1, "different": 3, "empty": 0,
        "per_sample": found.splits["train"]["columns"]["answer"]["per_sample"],
    }  # fmt: skip


def test_files_of_different_widths_make_no_sequence(root: Path) -> None:
    np.save(root / "wide.npy", np.ones((2, 4), np.float32))
    with pytest.raises(DataError, match=r"sample 7  the files of image have shapes \(1, 3\), \(2, 4\)"):
        FeaturesEncoder(3, name="image").prepare([root / "f" / "right.npy", root / "wide.npy"], "sample 7")


@pytest.mark.parametrize("name", ["../secret.npy", "link.npy", "../secret.npy::features", "nowhere.npz::features"])
@pytest.mark.parametrize("column", ["image", "both"])
def test_no_array_outside_the_root_is_named_or_read(root: Path, column: str, name: str) -> None:
    (root / "link.npy").symlink_to(root.parent / "secret.npy")
    with pytest.raises(DataError, match=r"leaves the data folder|does not exist"):
        written(root, **{column: [name] if column == "both" else name})
    for split in ("train", "validation", "test"):
        (root / f"{split}.jsonl").write_text(json.dumps({"x": [name, name]}) + "\n")
    with pytest.raises(DataError, match=r"leaves the data folder|does not exist"):
        FORMATS["jsonl"](Jsonl(format="jsonl", root=str(root)), Path(), (Column("x", cells.ARRAY),))


def test_a_manifest_may_name_several_arrays_of_a_sample(root: Path) -> None:
    for split in ("train", "validation", "test"):
        (root / f"{split}.jsonl").write_text(json.dumps({"x": ["f/left.npz::features", "f/right.npy"]}) + "\n")
    found = FORMATS["jsonl"](Jsonl(format="jsonl", root=str(root)), Path(), (Column("x", cells.ARRAY),))
    value = found.splits["train"][0].values["x"]
    assert np.array_equal(FeaturesEncoder(3, name="x").prepare(value, "s"), np.concatenate([LEFT, RIGHT]))


def test_files_that_went_away_are_told(root: Path) -> None:
    store = written(root, both=["f/left.npz::features", "f/right.npy"])
    (root / "f" / "right.npy").unlink()
    assert ["both = 'f/right.npy' does not exist" in str(problem) for problem in check_store(store).problems] == [True]
