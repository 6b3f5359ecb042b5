"""What a training tells of its data before the first epoch, in bounded time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptkit.data import glance as glances
from adaptkit.data.glance import glance
from adaptkit.data.paths import ArrayPath
from adaptkit.data.rows import Row, Rows
from adaptkit.data.sample import DataSet, Samples
from adaptkit.recipe import load_recipe
from adaptkit.training import Callback, train
from tests.data.test_checking import TABLES

Cells = list[tuple[str, Any, Any]]


def told(kind: str = "classification", **splits: Cells) -> list[str]:
    """What is said of samples (id, x, y)."""
    made = {}
    for split, cells in splits.items():
        rows = [Row(id or f"{split}:{n}", {"x": x, "y": y}, f"{split}:{n}") for n, (id, x, y) in enumerate(cells, 1)]
        made[split] = Samples(rows, {"x": "x"}, {"y": "y"})
    return list(glance(DataSet(made, "", ""), {"y": TABLES[kind]}))


def labelled(labels: str) -> Cells:
    return [("", f"text {number} {labels}", label) for number, label in enumerate(labels)]


def test_nothing_is_said_of_what_is_not_odd() -> None:
    assert told(train=labelled("abab" * 3), validation=labelled("aabb"), test=labelled("ab")) == []


def test_rows_and_ids_that_splits_share() -> None:
    found = told(
        train=[("", "one", "a"), ("", "two", "b"), ("7", "seven", "a")],
        validation=[("", "new", "a"), ("7", "other", "b")],
        test=[("", "two", "b"), ("", "last", "a")],
    )
    assert found == [
        "validation: 1 of 2 samples have the id of one in train, with other contents: "
        "validation:2 (sample 7) = train:3 (sample 7).",
        "test: 1 of 2 samples have the content of one in train: test:1 = train:2.",
    ]


def test_columns_that_never_change() -> None:
    same = [("", "one", "a"), ("", "one", "b"), ("", None, "a")]
    assert told(train=same, test=labelled("ab")) == ["train: x is the same in every sample."]
    assert told(train=labelled("aaa"), test=labelled("aa")) == [
        "train: y is a in every sample.",
        "test: y is a in every sample.",
    ]
    numbers = [("", f"{n}", 2.0) for n in range(4)]
    assert told("regression", train=numbers) == ["train: y is 2 everywhere."]
    assert told(train=[("", None, "a"), ("", None, "b")]) == []  # absent everywhere is told by the loader


def test_labels_in_other_shares_than_in_training() -> None:
    (found,) = told(train=labelled("ab" * 200), test=labelled("aaab" * 100))
    assert found.startswith("test: y is shifted against train (total variation 0.25)")
    (found,) = told(train=labelled("abab"), test=labelled("abc"))
    assert found == "test: y has labels that train lacks: c."


def test_nothing_is_decoded_or_opened(tmp_path: Path) -> None:
    """Files count by their names, which need not exist here."""
    cells: Cells = [("", tmp_path / f"{n}.png", "ab"[n % 2]) for n in range(4)]
    (found,) = told(train=cells, test=[cells[1], ("", tmp_path / "9.png", "a"), ("", tmp_path / "8.png", "b")])
    assert found == "test: 1 of 3 samples have the content of one in train: test:1 = train:2."
    arrays: Cells = [("", ArrayPath(tmp_path / "a.h5", f"x[{n}]"), "ab"[n % 2]) for n in range(4)]
    assert len(told(train=arrays, test=arrays[:2])) == 1


@pytest.mark.parametrize("kind", [np.asarray, lambda values: values.astype(np.uint8).tobytes()])
def test_of_what_is_long_pieces_are_compared(kind: Any) -> None:
    rng = np.random.default_rng(0)
    long = [kind(rng.integers(0, 255, 300_000).astype(np.float64)) for _ in range(5)]
    cells: Cells = [("", value, "ab"[n % 2]) for n, value in enumerate(long)]
    (found,) = told(train=cells[:3], test=[cells[1], cells[3], cells[4]])
    assert found == "test: 1 of 3 samples have the content of one in train: test:1 = train:2."


def test_of_many_samples_some_are_compared_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glances, "LOOKED", 10)
    cells = labelled("ab" * 15)
    shared, limit = told(train=cells, test=cells)
    assert shared.startswith("test: 10 of 10 samples have the content of one in train: test:1 = train:1, test:4 =")
    assert limit == "Of every split 10 samples or fewer were compared; `adaptkit data check` compares all."
    assert told(train=cells, test=labelled("ba" * 15)) == []


def test_what_a_users_code_makes_is_not_read_for_this() -> None:
    class Made(Rows):
        stored = False

        def __len__(self) -> int:
            return 4

        def row(self, index: int) -> Row:
            raise AssertionError

        def column(self, name: str) -> Any:
            return iter("abab")

    assert (
        list(
            glance(DataSet({"train": Samples(Made(), {"x": "x"}, {"y": "y"})}, "", ""), {"y": TABLES["classification"]})
        )
        == []
    )


class Told(Callback):
    """What happens, in order."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def note(self, text: str) -> None:
        self.seen.append(text)

    def step_done(self, event: object) -> None:
        self.seen.append("step")


def test_a_training_tells_it_before_its_first_step(tiny_recipe: Path, tiny_data: Path, tmp_path: Path) -> None:
    lines = (tiny_data / "train.jsonl").read_text().splitlines()
    (tmp_path / "data").mkdir()
    for split in ("train", "validation", "test"):
        (tmp_path / "data" / f"{split}.jsonl").write_text((tiny_data / f"{split}.jsonl").read_text())
    with (tmp_path / "data" / "test.jsonl").open("a") as file:
        file.write(json.dumps(json.loads(lines[3]) | {"id": "new"}) + "\n")
    recipe = load_recipe(tiny_recipe, [f'data.root="{(tmp_path / "data").as_posix()}"', "train.max_steps=1"])
    heard = Told()
    train(recipe, runs=tmp_path / "runs", callbacks=[heard])
    leak = next(n for n, text in enumerate(heard.seen) if text.startswith("test: 1 of 17 samples have the content"))
    assert leak < heard.seen.index("step")
