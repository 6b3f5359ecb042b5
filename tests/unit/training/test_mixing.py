"""Several sources of data: what is read of each, and in which batches a training goes through them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from adaptkit.errors import DataError, RecipeError
from adaptkit.formats.load import load_data
from adaptkit.recipe import Recipe, parse_recipe
from adaptkit.training.mixing import build_batching, epoch_length

SIZES = {"colour": 20, "size": 7, "kind": 4}


def written(root: Path, name: str, count: int) -> None:
    folder = root / name
    folder.mkdir(parents=True)
    for split, rows in (("train", count), ("validation", 3), ("test", 2)):
        if name == "kind" and split == "test":
            rows = 5
        lines = [{"id": str(i), "text": f"{name} {i}", "answer": ["no", "yes"][i % 2]} for i in range(rows)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, count in SIZES.items():
        written(tmp_path, name, count)
    return tmp_path


def recipe(root: Path, tasks: dict[str, Any] | None = None, **data: Any) -> Recipe:
    answer = {"kind": "classification", "labels": ["no", "yes"], "column": "answer"}
    told = dict.fromkeys(SIZES, answer) if tasks is None else {n: answer | t for n, t in tasks.items()}
    return parse_recipe(
        {
            "name": "several",
            "backbone": {"model": "bert-base"},
            "modality": {"text": {"kind": "text", "route": "backbone"}},
            "data": {
                "format": "mixture",
                "sources": {name: {"format": "jsonl", "root": str(root / name)} for name in SIZES},
                **data,
            },
            "task": told,
            "train": {"batch_size": 4},
        }
    )


def test_a_sample_has_the_targets_of_its_own_source(root: Path) -> None:
    data = load_data(recipe(root))
    train = data.splits["train"]
    assert len(train) == 31
    assert [len(part.samples) for part in train.parts.values()] == [20, 7, 4]
    assert {name: part.start for name, part in train.parts.items()} == {"colour": 0, "size": 20, "kind": 27}
    assert (train[19].targets, train[20].targets) == ({"colour": "yes"}, {"size": "no"})
    assert train[27].inputs == {"text": "kind 0"}
    assert list(train.targets("size")) == ["no", "yes", "no", "yes", "no", "yes", "no"]
    assert list(data.targets("test", "kind")) == ["no", "yes", "no", "yes", "no"]
    assert [sample.targets for sample in train[18:21]] == [{"colour": "no"}, {"colour": "yes"}, {"size": "no"}]


def test_two_tasks_may_read_one_source(root: Path) -> None:
    tasks = {"colour": {}, "shade": {"source": "colour"}, "size": {}, "sort": {"source": "kind"}}
    train = load_data(recipe(root, tasks)).splits["train"]
    assert train[0].targets == {"colour": "no", "shade": "no"}
    assert train[30].targets == {"sort": "yes"}


def batches(told: Recipe, epoch: int) -> list[list[int]]:
    train = load_data(told).splits["train"]
    return [list(chunk) for chunk in build_batching(told, train, {}, seed=3)(epoch)]


def source_of(index: int) -> str:
    return "colour" if index < 20 else "size" if index < 27 else "kind"


@pytest.mark.parametrize(
    ("mixing", "expected"),
    [
        ({}, {"colour": 5, "size": 2, "kind": 1}),
        ({"mixing": "balanced"}, {"colour": 3, "size": 3, "kind": 3}),
        ({"mixing": "temperature", "temperature": 1.0}, {"colour": 5, "size": 2, "kind": 1}),
        ({"mixing": "temperature"}, {"colour": 4, "size": 2, "kind": 2}),
        ({"mixing": "temperature", "temperature": 1e6}, {"colour": 3, "size": 3, "kind": 3}),
    ],
)
def test_mixing(root: Path, mixing: dict[str, Any], expected: dict[str, int]) -> None:
    told = recipe(root, **mixing)
    found = batches(told, 0)
    assert all(len({source_of(index) for index in chunk}) == 1 for chunk in found), "a batch is of one task"
    assert Counter(source_of(chunk[0]) for chunk in found) == expected
    assert len(found) == epoch_length(told, load_data(told).splits["train"])
    assert found == batches(told, 0), "a resumed run repeats it"
    assert found != batches(told, 1)


def test_proportional_mixing_sees_every_sample_once(root: Path) -> None:
    for epoch in range(3):
        assert sorted(index for chunk in batches(recipe(root), epoch) for index in chunk) == [*range(31)]


def test_what_is_wanted_more_often_is_gone_through_in_another_order(root: Path) -> None:
    """Three batches of four from a source of four: each of them whole, three orders, other ones next time."""
    told = recipe(root, mixing="balanced")
    ours = [chunk for epoch in range(2) for chunk in batches(told, epoch) if chunk[0] >= 27]
    assert len(ours) == 6
    assert all(sorted(chunk) == [27, 28, 29, 30] for chunk in ours)
    assert len({tuple(chunk) for chunk in ours}) > 2


def test_a_task_has_batches_of_its_own_size(root: Path) -> None:
    tasks = {"colour": {"batch_size": 10}, "size": {}, "kind": {"batch_size": 2}}
    found = batches(recipe(root, tasks), 0)
    assert Counter((source_of(chunk[0]), len(chunk)) for chunk in found) == {
        ("colour", 10): 2,
        ("size", 4): 1,
        ("size", 3): 1,
        ("kind", 2): 2,
    }


def test_one_source_is_gone_through_as_ever(root: Path) -> None:
    told = recipe(root)
    tables = {"format": "jsonl", "root": str(root / "colour")}
    task = {"answer": {"kind": "classification", "labels": ["no", "yes"]}}
    one = parse_recipe(told.model_dump(exclude_defaults=True) | {"data": tables, "task": task})
    train = load_data(one).splits["train"]
    batching = build_batching(one, train, {}, seed=3)
    assert batching.count == 5
    assert sorted(index for chunk in batching(0) for index in chunk) == [*range(20)]


@pytest.mark.parametrize(
    ("tasks", "data", "message"),
    [
        ({"colour": {}, "size": {}}, {}, "no task reads this source"),
        ({"colour": {}, "size": {}, "kind": {"source": "knid"}}, {}, 'reads the source "knid"'),
        (None, {"temperature": 3.0}, "has no effect on this mixing"),
        (None, {"sources": {"colour": {"format": "jsonl"}}}, "at least 2"),
    ],
)
def test_what_contradicts_itself_is_told(
    root: Path, tasks: dict[str, Any] | None, data: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(root, tasks, **data)


def test_a_source_needs_several(root: Path) -> None:
    told = recipe(root).model_dump(exclude_defaults=True)
    told["data"] = {"format": "jsonl", "root": str(root / "colour")}
    told["task"] = {"answer": {"kind": "classification", "source": "colour"}}
    with pytest.raises(RecipeError, match="the data has one source only"):
        parse_recipe(told)


def test_a_source_without_training_data_is_refused(root: Path) -> None:
    (root / "size" / "train.jsonl").unlink()
    with pytest.raises(DataError):
        load_data(recipe(root))
