"""Manifests: what they may hold, and one clear error with file and line for whatever is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptkit.data.rows import Column, Row
from adaptkit.errors import DataError
from adaptkit.formats.jsonl import Jsonl, read_jsonl, read_manifest
from adaptkit.recipe import cells

TEXT, IMAGE = Column("text", cells.TEXT), Column("poster", cells.FILE, required=False)
VECTOR, TARGET = Column("vector", cells.ARRAY, required=False), Column("label", cells.TARGET)
ALL = (TEXT, IMAGE, VECTOR, TARGET)


def manifest(folder: Path, *rows: object, name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def read(folder: Path, *rows: object, columns: tuple[Column, ...] = (TEXT, TARGET)) -> list[Row]:
    return read_manifest(manifest(folder, *rows), folder.resolve(), columns)


def fails(folder: Path, message: str, *rows: object, columns: tuple[Column, ...] = (TEXT, TARGET)) -> None:
    with pytest.raises(DataError) as caught:
        read(folder, *rows, columns=columns)
    assert message in str(caught.value)


GOOD = {"text": "a film", "label": "drama"}


def test_rows_keep_text_paths_arrays_and_gaps(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "v.npy").write_bytes(b"")
    rows = read(
        tmp_path,
        {"id": "m1", "text": "a", "poster": "a.png", "vector": [1.0, 2.0], "label": ["x"]},
        {"text": "b", "poster": [[0.0, 1.0]], "vector": "v.npy", "label": 3},
        {"text": "c", "poster": None, "label": True},
        columns=ALL,
    )
    assert rows[0].values["poster"] == (tmp_path / "a.png").resolve()
    assert rows[0].values["vector"] == [1.0, 2.0]
    assert rows[1].values["vector"] == (tmp_path / "v.npy").resolve()
    assert rows[2].values["poster"] is None
    assert rows[2].values["vector"] is None
    assert [row.id for row in rows] == ["m1", "train.jsonl:2", "train.jsonl:3"]


def test_empty_lines_are_skipped_but_counted(tmp_path: Path) -> None:
    rows = read(tmp_path, GOOD, "", GOOD)
    assert [row.where for row in rows] == ["train.jsonl:1", "train.jsonl:3"]


def test_unusual_line_separators_inside_text_do_not_split_a_line(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({**GOOD, "text": "one\u2028two\x85"}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_manifest(path, tmp_path, (TEXT,))[0].values["text"] == "one\u2028two\x85"


def test_each_mistake_names_file_and_line(tmp_path: Path) -> None:
    fails(tmp_path, "train.jsonl:2  this is not JSON", GOOD, "{text: a}")
    fails(tmp_path, "train.jsonl:1  this is a JSON list", [1, 2])
    fails(tmp_path, "train.jsonl:2  label is absent", GOOD, {"text": "b"})
    fails(
        tmp_path,
        "train.jsonl:2  text is absent. Or say what to do: missing",
        GOOD,
        {"label": "x", "text": None},
    )
    fails(tmp_path, "train.jsonl:1  text is 3, not a string", {"text": 3, "label": "x"})
    fails(tmp_path, "train.jsonl:1  poster is 3, not a path or an array", {**GOOD, "poster": 3}, columns=ALL)
    fails(tmp_path, "train.jsonl:1  poster = 'no.png' does not exist", {**GOOD, "poster": "no.png"}, columns=ALL)


def test_a_misspelt_column_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    fails(
        tmp_path,
        "no row has the column 'poster'. Did you mean \"postr\"",
        {**GOOD, "postr": "a.png"},
        columns=ALL,
    )


@pytest.mark.parametrize("escape", ["../secret.png", "/etc/hostname", "inside/../../secret.png", "link.png"])
def test_a_path_that_leaves_the_root_is_refused(tmp_path: Path, escape: str) -> None:
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    fails(root, "leaves the data folder", {**GOOD, "poster": escape}, columns=ALL)


def test_a_manifest_without_rows_or_without_a_file_is_refused(tmp_path: Path) -> None:
    fails(tmp_path, "the file has no rows")
    with pytest.raises(DataError, match="does not exist"):
        read_manifest(tmp_path / "nowhere.jsonl", tmp_path, (TEXT,))
    (tmp_path / "latin.jsonl").write_bytes(b'{"text": "caf\xe9"}\n')
    with pytest.raises(DataError, match=r"latin\.jsonl:1  this is not UTF-8"):
        read_manifest(tmp_path / "latin.jsonl", tmp_path, (TEXT,))


def test_the_three_splits_come_from_the_root_and_decide_the_hash(tmp_path: Path) -> None:
    root = tmp_path / "films"
    root.mkdir()
    for name in ("train.jsonl", "dev.jsonl", "test.jsonl"):
        manifest(root, GOOD, name=name)
    data = Jsonl(format="jsonl", root="films", validation="dev.jsonl")
    first = read_jsonl(data, tmp_path, (TEXT, TARGET))
    assert {split: len(rows) for split, rows in first.splits.items()} == {
        "train": 1,
        "validation": 1,
        "test": 1,
    }
    assert read_jsonl(data, tmp_path, (TEXT, TARGET)).hash == first.hash
    manifest(root, GOOD, GOOD, name="test.jsonl")
    assert read_jsonl(data, tmp_path, (TEXT, TARGET)).hash != first.hash


def test_a_root_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root  the folder .*films does not exist"):
        read_jsonl(Jsonl(format="jsonl", root="films"), tmp_path, (TEXT,))
