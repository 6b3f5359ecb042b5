"""Data given in Python means what the same rows in files mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import Dataset

import adaptkit as ak
from adaptkit.data.rows import Column
from adaptkit.errors import DataError, Interrupted, RunError
from adaptkit.formats import load_data
from adaptkit.formats.map_style import read_map_style, split
from adaptkit.modalities.image.table import ImageModality
from adaptkit.recipe import Recipe, load_recipe
from adaptkit.recipe.cells import TARGET
from adaptkit.training import Callback, StopRequested
from adaptkit.training.callbacks import StepDone

Splits = dict[str, list[dict[str, Any]]]


class OfTensors(Dataset[dict[str, Any]]):
    """Rows as torch's datasets give them."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        return {**row, "features": torch.tensor(row["features"]), "amount": np.float64(row["amount"])}


class StopAt(Callback):
    def step_done(self, event: StepDone) -> None:
        if event.step == 3:
            raise StopRequested


@pytest.fixture(scope="module")
def splits(tiny_data: Path) -> Splits:
    return {
        name: [json.loads(line) for line in (tiny_data / f"{name}.jsonl").read_text().splitlines()]
        for name in ("train", "validation", "test")
    }


@pytest.fixture
def recipe(tiny_recipe: Path) -> Recipe:
    """Its own data is nowhere."""
    return load_recipe(tiny_recipe, ['data.root="nowhere"'])


def forms(splits: Splits) -> dict[str, Any]:
    from datasets import ClassLabel, Dataset, DatasetDict

    arrow = DatasetDict({name: Dataset.from_list(rows) for name, rows in splits.items()})
    return {
        "lists": splits,
        "torch": {name: OfTensors(rows) for name, rows in splits.items()},
        "hf": arrow,
        "hf_labels": arrow.cast_column("answer", ClassLabel(names=["no", "yes"])),
        "hf_torch": arrow.with_format("torch"),
    }


@pytest.mark.filterwarnings("ignore")  # of datasets' own imports
@pytest.mark.parametrize("form", ["lists", "torch", "hf", "hf_labels", "hf_torch"])
def test_it_trains_as_from_files(
    recipe: Recipe, tiny_recipe: Path, splits: Splits, tmp_path: Path, tiny_run: Path, form: str
) -> None:
    result = ak.train(recipe, data=forms(splits)[form], runs=tmp_path)
    for file in ("artifact/adapter.safetensors", "metrics.jsonl", "predictions/test.jsonl"):
        assert (result.run / file).read_bytes() == (tiny_run / file).read_bytes(), file


def test_a_plan_may_be_made_of_it_and_a_run_evaluated_on_it(recipe: Recipe, splits: Splits, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist"):
        ak.make_plan(recipe)
    plan = ak.make_plan(recipe, data=splits)
    assert plan.labels == {"answer": ("no", "yes")}
    result = ak.train(plan, data=splits, runs=tmp_path)
    assert ak.evaluate(result.run, data=splits).metrics == result.metrics


def test_workers_read_it_as_well(recipe: Recipe, splits: Splits) -> None:
    from adaptkit.data.loading import Loader

    data = load_data(recipe, {name: OfTensors(rows) for name, rows in splits.items()})
    batches = [
        list(Loader(data.splits["train"], lambda samples: {"ids": [s.id for s in samples]}, workers)([[3, 1], [2]]))
        for workers in (0, 1)
    ]
    assert batches[0] == batches[1] == [{"ids": ["train-3", "train-1"]}, {"ids": ["train-2"]}]


@settings(deadline=None)
@given(st.integers(3, 500))
def test_a_single_dataset_is_split_by_its_length_alone(size: int) -> None:
    parts = split(size)
    assert sorted(index for indices in parts.values() for index in indices) == list(range(size))
    assert [len(parts[name]) for name in ("validation", "test")] == [max(1, size // 10)] * 2
    assert all(indices == sorted(indices) for indices in parts.values())
    assert parts == split(size)


def test_a_single_dataset(recipe: Recipe, splits: Splits) -> None:
    whole = [row for rows in splits.values() for row in rows]
    data = load_data(recipe, whole)
    assert {name: len(found) for name, found in data.splits.items()} == {"train": 62, "validation": 7, "test": 7}
    ids = {name: [sample.id for sample in found] for name, found in data.splits.items()}
    assert ids == {name: [whole[index]["id"] for index in found] for name, found in split(76).items()}
    assert data.description == "data given in Python (train 62, validation 7, test 7)"


def test_a_resumed_run_notices_other_data(recipe: Recipe, splits: Splits, tmp_path: Path) -> None:
    def data() -> Splits:
        return {name: [dict(row) for row in rows] for name, rows in splits.items()}

    with pytest.raises(Interrupted):
        ak.train(recipe, data=data(), runs=tmp_path, callbacks=[StopAt()])
    changed = data()
    changed["train"][7]["features"] = [0.5, 0.5, 0.0, 1.0]
    with pytest.raises(RunError, match="data has changed"):
        ak.train(recipe, data=changed, runs=tmp_path, resume=True)
    assert ak.train(recipe, data=data(), runs=tmp_path, resume=True).metrics


COLUMNS = (Column("image", ImageModality.cell_form, required=False, kind="image"), Column("label", TARGET))


def table(rows: list[dict[str, Any]], base: Path = Path()) -> Any:
    return read_map_style({"train": rows, "validation": rows}, base, COLUMNS)


def test_its_identity_is_what_it_holds() -> None:
    """Of what is read, in order; not of the objects that hold it."""
    array = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    known = {}
    for name, value in {
        "array": array,
        "floats": array.astype(np.float32),
        "other": array + 1,
        "pixels": Image.fromarray(array + 2),
        "bytes": {"bytes": b"abc", "path": None},
        "more bytes": {"bytes": b"abd", "path": None},
        "absent": None,
        "list": [[1, 2], [3, 4]],
    }.items():
        known[name] = table([{"image": value, "label": "a"}, {"image": None, "label": "b"}]).hash
    assert len(set(known.values())) == len(known)
    assert table([{"image": array.copy(), "label": "a", "more": 1}, {"label": "b"}]).hash == known["array"]
    assert table([{"image": torch.tensor(array), "label": "a"}, {"label": "b"}]).hash == known["array"]
    assert table([{"label": "b"}, {"image": array, "label": "a"}]).hash != known["array"]


def test_paths_may_lie_anywhere_if_they_are_absolute(tmp_path: Path) -> None:
    base = tmp_path / "recipes"
    base.mkdir()
    for path in (tmp_path / "a.png", base / "b.png"):
        path.write_bytes(b"x")
    images = [str(tmp_path / "a.png"), tmp_path / "a.png", "b.png", {"path": str(tmp_path / "a.png"), "bytes": None}]
    rows = table([{"image": image, "label": "x"} for image in images], base).splits["train"]
    assert [row.values["image"] for row in rows] == [
        tmp_path / "a.png",
        tmp_path / "a.png",
        base / "b.png",
        tmp_path / "a.png",
    ]
    for wrong in ("../a.png", "c.png", str(tmp_path / "c.png")):
        with pytest.raises(DataError, match=r'data\["train"\]\[0\]  image = .*(leaves the data folder|does not exist)'):
            table([{"image": wrong, "label": "x"}], base)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"train": [{"label": "a"}], "validation": [{"label": "a"}]}, "no row has the column 'image'"),
        (
            {"train": [{"label": "a", "image": None}, {"label": None}], "validation": [{"label": "a"}]},
            'data["train"][1]  label is absent.',
        ),
        ({"train": [("a", "b")], "validation": []}, 'data["train"][0]  is a tuple, not a dict'),
        ({"train": [{"label": "a", "image": 3}], "validation": []}, "image is 3, not a path or an array"),
        ({"train": []}, "the split validation is missing."),
        ({"train": [], "val": []}, "there is no split 'val'."),
        ({"train": (row for row in ()), "validation": []}, 'data["train"] is a generator, not a map-style dataset.'),
        (7, "data is a int, not a map-style dataset."),
        ([{"label": "a", "image": None}] * 2, "2 samples cannot be split into three."),
    ],
)
def test_what_is_wrong_is_told(data: Any, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        read_map_style(data, Path(), COLUMNS)
    assert expected in str(caught.value)


def test_an_empty_split_is_told(recipe: Recipe, splits: Splits) -> None:
    with pytest.raises(DataError, match="the split validation has no samples"):
        load_data(recipe, {**splits, "validation": []})


def test_without_a_test_split(recipe: Recipe, splits: Splits, tmp_path: Path) -> None:
    data = {"train": splits["train"], "validation": splits["validation"], "test_hard": splits["test"]}
    result = ak.train(recipe, data=data, runs=tmp_path)
    assert set(result.metrics) == {"validation", "test_hard"}
    assert result.ablations == {}
