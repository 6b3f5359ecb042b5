"""CSV, Parquet and Hugging Face folders give what a jsonl manifest gives, and name the line of a mistake."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from adaptkit.data.rows import FORMATS, Column, SplitRows
from adaptkit.errors import DataError
from adaptkit.formats.tables import Csv, HuggingFace, Jsonl, Parquet
from adaptkit.recipe import cells

TEXT, IMAGE = Column("text", cells.TEXT), Column("poster", cells.FILE, required=False)
VECTOR, TARGET = Column("vector", cells.ARRAY, required=False), Column("genres", cells.TARGET, many=True)
RATING = Column("rating", cells.TARGET)
ALL = (TEXT, IMAGE, VECTOR, TARGET, RATING)
ROWS = [
    {"id": "a", "text": 'one, "two"\nthree', "poster": "p.png", "vector": [0.5, 1.0], "genres": ["x"], "rating": 2.5},
    {"id": "b", "text": "é \u2028", "poster": None, "vector": None, "genres": ["x", "y"], "rating": -1.0},
    {"id": "c", "text": "3", "poster": "p.png", "vector": [2.0, 3.0], "genres": [], "rating": 0.0},
]
SPLITS = ("train", "validation", "test")


def picture(folder: Path) -> None:
    Image.new("L", (2, 2), 128).save(folder / "p.png")


def write_jsonl(folder: Path, rows: list[dict[str, Any]]) -> Any:
    for split in SPLITS:
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Jsonl(format="jsonl", root=str(folder))


def write_csv(folder: Path, rows: list[dict[str, Any]]) -> Any:
    import csv

    for split in SPLITS:
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            for row in rows:
                vector = "" if row["vector"] is None else json.dumps(row["vector"])
                writer.writerow({**row, "genres": "|".join(row["genres"]), "vector": vector})
    return Csv(format="csv", root=str(folder))


def write_parquet(folder: Path, rows: list[dict[str, Any]]) -> Any:
    for split in SPLITS:
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet", row_group_size=2)
    return Parquet(format="parquet", root=str(folder))


def write_hf(folder: Path, rows: list[dict[str, Any]]) -> Any:
    from datasets import Dataset, DatasetDict

    DatasetDict({split: Dataset.from_list(rows) for split in SPLITS}).save_to_disk(folder)
    return HuggingFace(format="hf", root=str(folder))


WRITERS = {"jsonl": write_jsonl, "csv": write_csv, "parquet": write_parquet, "hf": write_hf}


def read(data: Any, columns: tuple[Column, ...] = ALL) -> SplitRows:
    return FORMATS[data.format](data, Path(), columns)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    data = WRITERS[name](tmp_path, ROWS)
    picture(tmp_path)
    table = read(data)
    assert list(table.splits) == list(SPLITS)
    found = list(table.splits["train"])
    wanted = [{k: v for k, v in row.items() if k != "id"} for row in ROWS]
    for row in wanted:
        row["poster"] = row["poster"] and (tmp_path / "p.png").resolve()
    assert [dict(row.values) for row in found] == wanted
    assert [row.id for row in found] == ["a", "b", "c"]
    assert [row.values for row in table.splits["test"][::2]] == [wanted[0], wanted[2]]  # type: ignore[index]
    assert table.splits["train"][-1].values == wanted[2]
    assert list(table.splits["train"].column("genres")) == [["x"], ["x", "y"], []]  # type: ignore[attr-defined]
    with pytest.raises(IndexError):
        table.splits["train"][3]


@pytest.mark.parametrize("name", WRITERS)
def test_rows_can_be_sent_to_a_worker(tmp_path: Path, name: str) -> None:
    data = WRITERS[name](tmp_path, ROWS)
    picture(tmp_path)
    rows = read(data).splits["train"]
    sent = pickle.loads(pickle.dumps(rows))
    assert [row.values for row in sent] == [row.values for row in rows]


@pytest.mark.parametrize("name", WRITERS)
def test_the_hash_is_that_of_the_contents(tmp_path: Path, name: str) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
    data = WRITERS[name](first, ROWS)
    other = WRITERS[name](second, [*ROWS, ROWS[0]])
    columns = (TEXT, TARGET)
    assert read(data, columns).hash == read(data, columns).hash
    assert read(data, columns).hash != read(other, columns).hash


@pytest.mark.parametrize("name", WRITERS)
def test_gaps_and_strangers_are_named(tmp_path: Path, name: str) -> None:
    data = WRITERS[name](tmp_path, ROWS)
    with pytest.raises(DataError, match=r"train.*: ?\d  poster = 'p.png' does not exist"):
        read(data)
    with pytest.raises(DataError, match=r"train.*:[234]+  vector is absent\. Or say what to do"):
        read(data, (Column("vector", cells.ARRAY),))
    with pytest.raises(DataError, match=r"no row has the column 'txt'\. Did you mean \"text\""):
        read(data, (Column("txt", cells.TEXT),))


@pytest.mark.parametrize("name", WRITERS)
def test_paths_stay_below_the_root(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    picture(tmp_path)
    data = WRITERS[name](root, [{**ROWS[0], "poster": "../p.png"}])
    with pytest.raises(DataError, match="leaves the data folder"):
        read(data)


@pytest.mark.parametrize("name", ["parquet", "hf"])
def test_a_text_column_of_numbers_is_refused(tmp_path: Path, name: str) -> None:
    data = WRITERS[name](tmp_path, [{"text": 3}])
    with pytest.raises(DataError, match="text is 3, not a string"):
        read(data, (TEXT,))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_missing_and_broken_files_are_named(tmp_path: Path, suffix: str) -> None:
    data = WRITERS[suffix](tmp_path, ROWS)
    path = tmp_path / f"validation.{suffix}"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if suffix == "parquet" else content + b'"open')
    with pytest.raises(DataError, match=f"validation.{suffix}"):
        read(data, (TEXT,))
    path.unlink()
    with pytest.raises(DataError, match="does not exist"):
        read(data, (TEXT,))


def csv_of(folder: Path, text: str) -> Csv:
    for split in SPLITS:
        (folder / f"{split}.csv").write_text(text)
    return Csv(format="csv", root=str(folder))


def test_csv_mistakes_name_the_line_that_the_record_starts_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.csv:4  3 cells, not 2"):
        read(csv_of(tmp_path, 'text,genres\n"a\nb",x\nc,x,y\n'), (TEXT,))
    with pytest.raises(DataError, match=r"train\.csv:3  this is not CSV"):
        read(csv_of(tmp_path, 'text,genres\na,x\n"b"c,x\n'), (TEXT,))
    with pytest.raises(DataError, match=r"train\.csv:1  the column 'text' is there twice"):
        read(csv_of(tmp_path, "text,text\na,x\n"), (TEXT,))
    with pytest.raises(DataError, match="has no rows"):
        read(csv_of(tmp_path, "text\n"), (TEXT,))
    with pytest.raises(DataError, match="has no header"):
        read(csv_of(tmp_path, ""), (TEXT,))


def test_csv_cells_are_numbers_or_labels(tmp_path: Path) -> None:
    data = csv_of(tmp_path, 'n,label,tags\n3,007,a| b\n-2.5,yes,\n1e3,null,["c"]\n')
    columns = (Column("n", cells.TARGET), Column("label", cells.TARGET), Column("tags", cells.TARGET, many=True))
    rows = list(read(data, columns).splits["train"])
    assert [row.values["n"] for row in rows] == [3, -2.5, 1000.0]
    assert [row.values["label"] for row in rows] == ["007", "yes", "null"]
    assert [row.values["tags"] for row in rows] == [["a", "b"], [], ["c"]]


def test_tabs_separate_cells_where_the_recipe_says_so(tmp_path: Path) -> None:
    csv_of(tmp_path, "text\tgenres\na, b\tx;y\n")
    data = Csv(format="csv", root=str(tmp_path), delimiter="\t", list_separator=";")
    assert read(data, (TEXT, TARGET)).splits["train"][0].values == {"text": "a, b", "genres": ["x", "y"]}


def test_class_labels_and_images_of_hugging_face(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value
    from datasets import Image as ImageFeature

    names = ClassLabel(names=["zebra", "ape"])
    features = Features({"image": ImageFeature(), "animal": names, "seen": Sequence(names), "text": Value("string")})
    content = io.BytesIO()
    Image.new("RGB", (3, 2), (255, 0, 0)).save(content, "PNG")
    rows = [{"image": {"bytes": content.getvalue(), "path": None}, "animal": 1, "seen": [0, 1], "text": "t"}] * 3
    DatasetDict({split: Dataset.from_list(rows, features=features) for split in SPLITS}).save_to_disk(tmp_path / "d")
    columns = (Column("image", cells.FILE), Column("animal", cells.TARGET), Column("seen", cells.TARGET, many=True))
    table = read(HuggingFace(format="hf", root=str(tmp_path / "d")), columns)
    row = table.splits["train"][1]
    assert row.values["animal"] == "ape"
    assert row.values["seen"] == ["zebra", "ape"]
    assert row.values["image"] == content.getvalue()
    assert table.classes == {"animal": ["zebra", "ape"], "seen": ["zebra", "ape"]}
    assert list(table.splits["train"].column("animal")) == ["ape"] * 3  # type: ignore[attr-defined]


def test_a_folder_that_hugging_face_did_not_write_is_refused(tmp_path: Path) -> None:
    data = write_hf(tmp_path, ROWS)
    with pytest.raises(DataError, match=r"has no split 'dev'.*Known: test, train, validation"):
        read(HuggingFace(format="hf", root=str(tmp_path), validation="dev"), (TEXT,))
    state = tmp_path / "train" / "state.json"
    good = json.loads(state.read_text())
    state.write_text(json.dumps({**good, "_data_files": [{"filename": "../test/data-00000-of-00001.arrow"}]}))
    with pytest.raises(DataError, match="leaves the data folder"):
        read(data, (TEXT,))
    state.write_text(json.dumps(good))
    file = tmp_path / "train" / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match="not a readable Arrow file"):
        read(data, (TEXT,))


def test_deep_or_huge_json_is_an_error_not_a_crash(tmp_path: Path) -> None:
    for text in ("[" * 100_000, '{"text": ' + "9" * 10_000 + "}"):
        (tmp_path / "train.jsonl").write_text(text + "\n")
        with pytest.raises(DataError, match=r"train\.jsonl:1"):
            read(Jsonl(format="jsonl", root=str(tmp_path)), (TEXT,))
