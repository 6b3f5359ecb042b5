"""What splits share, columns that never change, and labels in other shares than in training: warnings, never errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptkit.data.checking import check_samples, check_store
from adaptkit.data.label_warnings import label_warnings
from adaptkit.data.leaks import Marks, digest, shared
from adaptkit.data.paths import ArrayPath
from adaptkit.data.rows import Row
from adaptkit.data.sample import DataSet, Samples
from adaptkit.data.stats import summarised
from adaptkit.data.store import StoreWriter, open_store
from adaptkit.errors import DataError, UnavailableError
from tests.data.test_checking import TABLES, Reader


class Lenient(Reader):
    """Reads everything but "broken" and "unavailable"."""

    def prepare(self, value: Any, where: str) -> Any:
        if isinstance(value, str) and value == "broken":
            raise DataError("broken.", where=where)
        if isinstance(value, str) and value == "unavailable":
            raise UnavailableError("not installed.")
        return value

    def length(self, value: Any) -> int:
        return 1


def leaks(**splits: list[tuple[str, Any, Any, Any]]) -> list[str]:
    """Warnings about what splits share; of samples (id, x, z, y)."""
    made = {}
    for split, cells in splits.items():
        rows = [
            Row(id or f"{split}:{n}", {"x": x, "z": z, "y": y}, f"{split}:{n}")
            for n, (id, x, z, y) in enumerate(cells, start=1)
        ]
        made[split] = Samples(rows, {"x": "x", "z": "z"}, {"y": "y"})
    found = check_samples(
        DataSet(made, "", ""), {"x": Lenient(), "z": Lenient()}, {"y": TABLES["classification"]}
    ).warnings
    return [text for text in found if "of one in" in text]


def test_a_row_of_train_in_another_split_is_told_with_both_places() -> None:
    told = leaks(
        train=[("", "one", [1], "a"), ("", "two", [2], "b"), ("", "two", [2], "b")],
        validation=[("", "new", [3], "a")],
        test=[("", "other", [1], "a"), ("", "two", [2], "b"), ("", "new", [3], "a")],
    )
    assert told == [
        "test: 1 of 3 samples have the content of one in train: test:2 = train:2.",
        "test: 1 of 3 samples have the content of one in validation: test:3 = validation:1.",
    ]


def test_only_the_first_shared_samples_are_named() -> None:
    cells = [("", f"text {n}", None, "a") for n in range(9)]
    (told,) = leaks(train=cells, test=cells)
    assert told == (
        "test: 9 of 9 samples have the content of one in train: "
        "test:1 = train:1, test:2 = train:2, test:3 = train:3, ...."
    )


def test_one_equal_column_is_no_leak() -> None:
    train = [("", "is it odd?", [1], "a"), ("", "is it even?", [1], "b")]
    assert not leaks(train=train, test=[("", "is it odd?", [2], "a"), ("", "is it prime?", [1], "b")])
    assert not leaks(train=train, test=[("", "is it odd?", None, "a")])
    assert not leaks(train=[("", None, None, "a")], test=[("", None, None, "a")])


def test_two_test_splits_may_share_what_no_training_saw() -> None:
    same = [("7", "one", [1], "a")]
    assert not leaks(train=[("8", "two", [1], "a")], test=same, test_again=same)


@pytest.mark.parametrize("fault", ["broken", "unavailable"])
def test_what_cannot_be_read_equals_nothing(fault: str) -> None:
    cells = [("", fault, [1], "a")]
    told = leaks(train=cells, test=cells)
    assert bool(told) == (fault == "unavailable")  # its raw value is known


def test_equal_ids_are_told_and_whether_the_contents_differ() -> None:
    train = [("7", "one", [1], "a"), ("8", "two", [1], "a")]
    assert leaks(train=train, test=[("8", "three", [1], "a")]) == [
        "test: 1 of 1 samples have the id of one in train, with other contents: test:1 (sample 8) = train:2 (sample 8)."
    ]
    assert leaks(train=train, test=[("8", "two", [1], "a")]) == [
        f"test: 1 of 1 samples have the {what} of one in train: test:1 (sample 8) = train:2 (sample 8)."
        for what in ("content", "id")
    ]


def test_a_file_counts_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    for name, content in (("a", b"same"), ("b", b"same"), ("c", b"else")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(content)
    a, b, c = (tmp_path / name / "1.png" for name in "abc")
    assert digest(a) == digest(b) != digest(c)
    assert digest(a.parent) == digest(b.parent) != digest(c.parent)
    assert digest(ArrayPath(a, "x[1]")) == digest(ArrayPath(b, "x[1]")) != digest(ArrayPath(a, "x[2]"))


def test_fields_beside_an_answer_do_not_hide_a_leak() -> None:
    """The id of a question is another one in each split."""
    train = [("", "one", [1], {"answers": {"yes": 1.0}, "question_id": "t1"})]
    again = [("", "one", [1], {"answers": {"yes": 1.0}, "question_id": "v1"})]
    other = [("", "one", [1], {"answers": {"no": 1.0}, "question_id": "v1"})]
    assert leaks(train=train, test=again) == [
        "test: 1 of 1 samples have the content of one in train: test:1 = train:1."
    ]
    assert leaks(train=train, test=other) == []


def test_equal_values_have_equal_digests_and_others_do_not() -> None:
    large = np.zeros(5000)
    values: list[Any] = [None, "", "a", "1", 1, True, [1], [[1]], [1, 2], b"a", {"a": 1}, {"a": 2}]
    values += [large, large.astype(np.float32), large.reshape(50, 100), np.eye(1, 5000, 2500)[0], "\ud800"]
    assert len({digest(value) for value in values}) == len(values)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_marks_take_sixteen_bytes_a_row() -> None:
    marks = {split: Marks() for split in ("train", "test")}
    for n in range(1000):
        marks["train"].add(str(n), {"x": digest(n)}, {})
        marks["test"].add(str(n + 990), {"x": digest(-1 - n)}, {})
    assert {of.itemsize for split in marks.values() for of in vars(split).values()} == {8}
    (told,) = shared(marks, lambda split, index: f"{split} {index}")
    assert told.startswith(
        "test: 10 of 1,000 samples have the id of one in train, with other contents: test 0 = train 990"
    )
    assert not list(shared({"train": Marks(), "test": marks["test"]}, lambda split, index: ""))


def test_a_store_is_compared_too(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "adaptkit", format="mosi", root=tmp_path) as writer:
        writer.column("words", "text")
        writer.column("vision", "features", width=2)
        writer.column("sentiment", "number")
        for split, id, words in (
            ("train", "a", "one"),
            ("train", "b", "two"),
            ("test", "c", "two"),
            ("test", "b", "three"),
        ):
            writer.add(split, id, {"words": words, "vision": np.ones((3, 2)), "sentiment": 1.0})
    told = check_store(open_store(tmp_path / "adaptkit")).warnings
    assert "test: 1 of 2 samples have the content of one in train: test.parquet:1 = train.parquet:2." in told
    assert (
        "test: 1 of 2 samples have the id of one in train, with other contents: test.parquet:2 = train.parquet:2."
        in told
    )


def constant(values: list[Any], labels: list[Any], kind: str = "classification") -> list[str]:
    rows = [
        Row(f"train:{n}", {"x": x, "y": y}, f"train:{n}") for n, (x, y) in enumerate(zip(values, labels, strict=True))
    ]
    data = DataSet({"train": Samples(rows, {"x": "x"}, {"y": "y"})}, "", "")
    found = check_samples(data, {"x": Lenient()}, {"y": TABLES[kind]}).warnings
    return [text for text in found if "same in all" in text or "in every sample" in text]


def test_columns_that_never_change_are_told() -> None:
    said = "train: x is the same in all 5 samples that have it."
    assert constant(["hello"] * 5 + [None], ["a", "b"] * 3) == [said]
    assert constant([[1.0, 2.0]] * 5 + [None], ["a", "b"] * 3) == [said]
    assert not constant(["hello"] * 5 + ["Hello"], ["a", "b"] * 3)
    assert not constant(["hello"], ["a"])
    assert constant(["u", "v"], ["a", "a"]) == ["train: y is a in every sample."]
    assert constant(["u", "v"], [["a", "b"], ["b", "a"]], "multilabel") == ["train: y is a, b in every sample."]
    assert not constant(["u", "v"], [["a"], []], "multilabel")
    assert summarised("text", ["x", None, "x"], "text")["alike"]
    assert not summarised("text", ["x", None, "y", "x"], "text")["alike"]
    assert not summarised("text", ["x"], "text")["alike"]


def shifts(train: list[Any], test: list[Any]) -> list[str]:
    columns = {split: summarised("labels", values, "") for split, values in (("train", train), ("test", test))}
    return [text for text in label_warnings("y", columns) if "shifted" in text]


def test_labels_in_other_shares_than_in_train_are_told() -> None:
    train, test = ["a"] * 700 + ["b"] * 300, ["a"] * 120 + ["b"] * 180
    assert shifts(train, test) == [
        "test: y is shifted against train (total variation 0.30): a in 40.0% of the samples, 70.0% in train."
    ]
    assert not shifts(train, test[115:125])  # 10 of them may be so by chance
    assert not shifts(train * 100, ["a"] * 65000 + ["b"] * 35000)  # sure, and too small for a word
    many = [f"{n}" for n in range(100)] * 50  # no label by itself is far off
    assert shifts(many, [label for label in many if int(label) < 50] + many[:2500])
    sets = [["a", "b"]] * 500 + [["b"]] * 500
    assert shifts(sets, [["a", "b"]] * 900 + [["b"]] * 100) == [
        "test: y is shifted against train (total variation 0.40): a in 90.0% of the samples, 50.0% in train."
    ]


@pytest.mark.parametrize("labels", [2, 10, 100])
def test_splits_that_were_drawn_alike_are_not_shifted(labels: int) -> None:
    rng = np.random.default_rng(labels)
    told = 0
    for size in (5, 30, 100, 300, 2000):
        for _ in range(40):
            shares = rng.dirichlet(np.ones(labels))
            train, test = (rng.choice(labels, count, p=shares).astype(str).tolist() for count in (5 * size, size))
            told += bool(shifts(train, test))
            alike = [[[str(k) for k in np.flatnonzero(row)] for row in rng.random((n, 5)) < 0.3] for n in (size, 50)]
            told += bool(shifts(*alike))
    assert told == 0


def test_the_bundled_data_has_no_false_alarm() -> None:
    from adaptkit.formats.load import load_data
    from adaptkit.recipe import load_recipe

    recipe = load_recipe(str(Path(__file__).parents[2] / "recipes" / "quickstart.toml"))
    data = load_data(recipe)
    found = check_samples(data, {name: Lenient() for name in recipe.modality}, recipe.task)
    assert json.dumps(found.warnings) == "[]"
