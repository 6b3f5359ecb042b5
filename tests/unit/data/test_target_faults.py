"""Targets that no task can encode are found before anything is trained, in every split, all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adaptkit.data.rows import Row
from adaptkit.data.sample import DataSet, Samples
from adaptkit.data.target_faults import check_targets, target_faults
from adaptkit.errors import DataError
from adaptkit.kinds import TASKS
from adaptkit.recipe import load_recipe
from adaptkit.tasks.task import Task
from adaptkit.training import train


def data(**splits: list[Any]) -> DataSet:
    made = {}
    for split, values in splits.items():
        rows = [Row(f"{split}:{n}", {"y": value}, f"{split}:{n}") for n, value in enumerate(values)]
        made[split] = Samples(rows, {}, {"y": "y"})
    return DataSet(made, "", "")


def task(kind: str, found: DataSet, **keys: Any) -> Task:
    table = TASKS[kind].table.model_validate({"kind": kind, **keys})
    return Task.build(table, "y", found.targets("train", "y"))


def test_a_label_of_the_test_split_alone_is_told_with_its_sample() -> None:
    found = data(train=["a", "b"] * 3, validation=["a"], test=["a", "c"], test_far=["b", "d"])
    faults = target_faults(found, {"y": task("classification", found)})
    assert [fault.where for fault in faults] == ["test:1", "test_far:1"]
    assert "the label 'c' is not one of the task's labels" in faults[0].message
    with pytest.raises(DataError) as caught:
        check_targets(found, {"y": task("classification", found)})
    assert len(caught.value.problems) == 2


def test_the_first_faults_of_a_split_are_told_and_the_others_counted() -> None:
    found = data(train=["a", "b"], test=["z"] * 3000)
    faults = target_faults(found, {"y": task("classification", found)})
    assert [fault.where for fault in faults] == [*(f"test:{n}" for n in range(5)), "test"]
    assert faults[-1].message == "2,995 more samples whose y cannot be encoded."


@pytest.mark.parametrize("value", [["a"], {"a": 1}, 1.5, None, [["a"]], 10**400, float("nan")])
@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "retrieval"])
def test_targets_of_any_type_are_faults_of_their_sample_or_encoded(kind: str, value: Any) -> None:
    good: list[Any] = {"multilabel": [["a"], ["b"]], "regression": [1.0, 2.0]}.get(kind, ["a", "b"])
    found = data(train=[*good, value], test=good)
    (name,) = {"y"}
    extra = {"query": "q"} if kind == "retrieval" else {}
    faults = target_faults(found, {name: task(kind, found, **extra)})
    assert {fault.where for fault in faults} <= {"train:2"}
    fits = {("multilabel", "['a']"), ("regression", "1.5")} | {
        (k, str(10**400)) for k in ("classification", "retrieval")
    }
    assert bool(faults) is ((kind, str(value)) not in fits)


def test_training_stops_before_it_begins(tiny_recipe: Path, tiny_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text((tiny_data / f"{split}.jsonl").read_text())
    lines = (folder / "test.jsonl").read_text().splitlines()
    lines[2] = lines[2].replace('"yes"', '"perhaps"').replace('"no"', '"perhaps"')
    (folder / "test.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"test\.jsonl:3 .*'perhaps' is not one of the task's labels"):
        train(load_recipe(tiny_recipe, [f'data.root="{folder}"']), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
