"""What `data check` calls a problem, and what a warning."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptkit.data.checking import Findings, check_samples, check_sources, check_store
from adaptkit.data.rows import Row
from adaptkit.data.sample import DataSet, Samples
from adaptkit.data.stats import SUMMARIES, distribution, summarised
from adaptkit.data.store import StoreWriter, open_store
from adaptkit.errors import DataError
from adaptkit.kinds import MODALITIES, TASKS
from adaptkit.recipe import ModalityTable, TaskTable
from adaptkit.recipe.kinded import OfKind

TABLES: dict[str, TaskTable] = {
    kind.name: table.model_construct(kind=kind.name) for kind, table in OfKind(TASKS).tables(TaskTable)
}


class Reader:
    """Reads lists, refuses text."""

    unit = "tokens"
    figures = None

    def __init__(self, limit: int | None = None, could_standardise: bool = False) -> None:
        self.limit, self.could_standardise = limit, could_standardise

    def length(self, value: Any) -> int:
        return len(value)

    def prepare(self, value: Any, where: str) -> Any:
        if isinstance(value, str):
            raise DataError("this is text.", where=where)
        return value


def data(**splits: list[tuple[Any, Any]]) -> DataSet:
    made = {}
    for split, cells in splits.items():
        rows = [Row(f"{split}:{n}", {"x": x, "y": y}, f"{split}:{n}") for n, (x, y) in enumerate(cells)]
        made[split] = Samples(rows, {"x": "x"}, {"y": "y"})
    return DataSet(made, "", "")


def checked(kind: str = "classification", limit: int | None = None, **splits: list[tuple[Any, Any]]) -> Findings:
    return check_samples(data(**splits), {"x": Reader(limit)}, {"y": TABLES[kind]})


def test_good_data_has_nothing_to_say() -> None:
    found = checked(train=[([1], "a"), ([2], "b")] * 5, test=[([3], "a"), ([4], "b")])
    assert not found.problems
    assert not found.warnings
    assert found.splits["train"]["columns"]["y"]["labels"] == {"a": 5, "b": 5}


def test_cuts_are_counted_with_what_is_lost() -> None:
    found = checked(limit=3, train=[([1] * 2, "a"), ([1] * 5, "b"), ([1] * 3, "a")] * 5)
    column = found.splits["train"]["columns"]["x"]
    assert (column["cut"], column["lost"], column["limit"]) == (5, 10, 3)
    assert found.warnings == ["train: 5 of 15 x have more than 3 tokens and are cut; 20.0% is lost."]


def test_vectors_that_hardly_vary_are_told_with_the_key_that_helps() -> None:
    rng = np.random.default_rng(0)
    for share, expected in (
        (0.01, "train: x hardly varies: 1.0% of its energy"),
        (0.2, ""),
        (0.0, "train: x is the same"),
    ):
        cells = [(10 + rng.normal(size=(2, 50)) * 10 * (share / (1 - share)) ** 0.5, "a") for _ in range(200)]
        found = check_samples(data(train=cells, test=cells), {"x": Reader(None, True)}, {"y": TABLES["classification"]})
        assert found.splits["train"]["columns"]["x"]["varying"] == pytest.approx(share, rel=0.1)
        told = [text for text in found.warnings if text.startswith("train: x")]
        assert len(told) == bool(expected)
        assert all(text.startswith(expected) for text in told)
        assert ("modality.x.standardise = true" in "".join(told)) == (share == 0.01)
    assert "varying" not in checked(train=cells).splits["train"]["columns"]["x"]


@pytest.mark.parametrize("largest", [1, 5, 1000])
def test_channels_of_unlike_scale_are_told_with_the_key_that_helps(largest: float) -> None:
    rng = np.random.default_rng(0)
    scales = np.array([0.5, 1, 1, 1, 2, largest, 0])  # of the last one nothing differs
    cells = [(rng.normal(size=(2, 7)) * scales, "a") for _ in range(200)]
    found = check_samples(data(train=cells, test=cells), {"x": Reader(None, True)}, {"y": TABLES["classification"]})
    told = [text for text in found.warnings if text.startswith("train: x")]
    assert len(told) == (largest == 1000)
    assert all("channels of unlike scale, the largest " in text and "x.standardise = true" in text for text in told)


def test_only_the_first_samples_that_cannot_be_read_are_told_one_by_one() -> None:
    found = checked(train=[("text", "a")] * 8)
    assert len(found.problems) == 6
    assert found.problems[0].where == "train:0"
    assert "3 more samples whose x cannot be read" in found.problems[-1].message


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("aaaaab", "a", "train: y has fewer than 5 samples of b."),
        ("a" * 300 + "b" * 5, "ab", "train: y is uneven: 300 samples of a, 5 of b."),
        ("a" * 5, "ab", "test: y has labels that train lacks: b."),
        ("a" * 5 + "b" * 5, "a", "test: y lacks labels of train: b."),
    ],
)
def test_labels_that_will_make_trouble_are_told(train: str, test: str, message: str) -> None:
    found = checked(train=[([1], label) for label in train], test=[([1], label) for label in test])
    assert message in found.warnings


def test_identities_are_no_labels_that_a_split_lacks() -> None:
    assert not checked("multilabel", train=[([1], ["v1"]), ([2], ["v2"])], test=[([1], ["v3"])]).warnings


def test_gaps_constants_and_numbers_that_are_none() -> None:
    found = checked("regression", train=[(None, 1.0), ([1], 1.0)], test=[([1], float("nan")), ([1], "much")])
    assert "train: x is missing in 1 of 2." in found.warnings
    assert "train: y is 1 everywhere." in found.warnings
    told = [problem.message for problem in found.problems]
    assert told == ["y has 1 values NaN or infinite.", "y is no number in 1 samples."]


def test_summaries_count_by_hand() -> None:
    vectors = [np.array([[0.0, 2.0], [4.0, np.inf]]), None, np.zeros((1, 3))]
    summary = summarised("vectors", vectors, "features")
    assert (summary["present"], summary["missing"], summary["not_finite"], summary["all_zero"]) == (2, 1, 1, 1)
    assert summary["widths"] == [2, 3]
    assert summary["length"]["max"] == 2
    assert summary["values"]["max"] == 4
    assert summary["values"]["mean"] == pytest.approx(1.0)  # 0, 2, 4, 0, 0, 0
    assert summary["values"]["std"] == pytest.approx(np.std([0, 2, 4, 0, 0, 0]))
    assert summarised("text", ["one two", " "], "text")["empty"] == 1
    assert summarised("labels", [["a", "b"], []], "genres")["without_label"] == 1
    assert distribution([]) is None
    assert distribution([1, 2, 3, 4])["median"] == 2.5  # type: ignore[index]


def test_every_kind_of_column_says_how_it_is_summarised() -> None:
    for kinds, base in ((MODALITIES, ModalityTable), (TASKS, TaskTable)):
        found = {kind.name: table.summary for kind, table in OfKind(kinds).tables(base)}
        assert set(found.values()) <= SUMMARIES.keys()
    assert {kind: table.summary for kind, table in TABLES.items()} == {
        "classification": "labels",
        "multilabel": "labels",
        "regression": "numbers",
        "retrieval": "gaps",
        "generation": "text",
    }


def test_a_store_whose_files_went_away(tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"{number}.png").write_bytes(b"")
    with StoreWriter(tmp_path / "adaptkit", format="mosi", root=tmp_path) as writer:
        writer.column("image", "path")
        for number in range(7):
            writer.add("train", "same", {"image": f"{number}.png"})
        writer.note("dropped rows", 3)
    store = open_store(tmp_path / "adaptkit")
    assert not check_store(store).problems
    for number in range(7):
        (tmp_path / f"{number}.png").unlink()
    found = check_store(store)
    assert "does not exist" in found.problems[0].message
    assert found.problems[-1].message == "2 more files of image are not there."
    assert found.notes == ["dropped rows: 3"]
    assert "train: ids that are there several times: same." in found.warnings


def test_sources_are_compared_with_what_was_published_and_with_what_was_imported(tmp_path: Path) -> None:
    published = {"MOSI/Processed/a.pkl": hashlib.sha256(b"right").hexdigest()}
    (tmp_path / "Processed").mkdir()
    file = tmp_path / "Processed" / "a.pkl"
    file.write_bytes(b"right")
    recorded = {"Processed/a.pkl": hashlib.sha256(b"right").hexdigest()}
    assert check_sources(published, tmp_path, recorded) == []
    file.write_bytes(b"wrong")
    told = check_sources(published, tmp_path, recorded)
    assert told == [
        "Processed/a.pkl changed since the import: import it again.",
        "Processed/a.pkl is not the published file: its SHA-256 differs.",
    ]
