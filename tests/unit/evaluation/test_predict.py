from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from adaptkit.errors import DataError, UsageError
from adaptkit.evaluation import predict
from adaptkit.evaluation.prediction_files import flat, written
from adaptkit.formats import load_samples
from adaptkit.recipe import load_recipe


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_predictions_equal_those_of_training(tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert predict(tiny_run, tiny_data / "test.jsonl", output, device="cpu") == 16
    expected = lines_of(tiny_run / "predictions" / "test.jsonl")
    assert lines_of(output) == [{key: value for key, value in line.items() if key != "target"} for line in expected]
    assert set(lines_of(output)[0]) == {"id", "label", "probabilities"}


def test_the_target_is_not_needed(tiny_run: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"question": "is it red ?", "features": [0, 1, 0, 1]}) + "\n")
    predict(tiny_run, source, tmp_path / "out.jsonl")
    (line,) = lines_of(tmp_path / "out.jsonl")
    assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "content",
    [
        {"question": "is it red ?"},
        {"question": "?", "features": [1, 2]},
        {"question": "?", "features": [1, 2, 3, None]},
    ],
)
def test_wrong_input_leaves_no_output(tiny_run: Path, tmp_path: Path, content: dict) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps(content) + "\n")
    with pytest.raises(DataError, match="features"):
        predict(tiny_run, source, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_an_existing_output_is_kept(tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("mine")
    with pytest.raises(UsageError, match=r"exists already.*--force"):
        predict(tiny_run, tiny_data / "test.jsonl", output)
    assert output.read_text() == "mine"
    predict(tiny_run, tiny_data / "test.jsonl", output, force=True)
    assert len(lines_of(output)) == 16


@pytest.mark.parametrize("name", ["out.txt", "out", "out.csv.gz"])
def test_unknown_kinds_are_refused_with_those_there_are(tiny_run: Path, tiny_data: Path, tmp_path: Path, name) -> None:
    known = r"Possible: \.jsonl, \.csv, \.tsv, \.parquet"
    with pytest.raises(UsageError, match=rf"cannot write .*{known}"):
        predict(tiny_run, tiny_data / "test.jsonl", tmp_path / name)
    with pytest.raises(UsageError, match=rf"cannot read .*{known}"):
        predict(tiny_run, tmp_path / name, tmp_path / "out.jsonl")
    assert not list(tmp_path.iterdir())


def test_tables_have_a_column_for_every_entry(
    tiny_run: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adaptkit.evaluation.prediction_files._ROWS", 5)
    for suffix in (".jsonl", ".csv", ".tsv", ".parquet"):
        assert predict(tiny_run, tiny_data / "test.jsonl", tmp_path / f"out{suffix}", device="cpu") == 16
    expected = [flat(line) for line in lines_of(tmp_path / "out.jsonl")]
    assert list(expected[0]) == ["id", "label", "probabilities.no", "probabilities.yes"]
    assert parquet.read_table(tmp_path / "out.parquet").to_pylist() == expected
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        with (tmp_path / f"out{suffix}").open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter=delimiter))
        numbers = [name for name in rows[0] if name.startswith("probabilities")]
        assert [{**row, **{name: float(row[name]) for name in numbers}} for row in rows] == expected


def test_lists_and_several_tasks_in_tables(tmp_path: Path) -> None:
    """A list of labels may be empty, in the first row, too; a task's name stands before its entries."""
    predictions = [
        {"id": "0", "genres": {"labels": [], "probabilities": {"sci, fi": 0.25}}, "where": {"values": [1.5, 2.0]}},
        {"id": "1", "genres": {"labels": ["sci, fi"], "probabilities": {"sci, fi": 0.75}}, "where": {"values": [1, 2]}},
    ]
    for suffix in (".csv", ".parquet"):
        with written(tmp_path / f"out{suffix}") as write:
            for prediction in predictions:
                write(prediction)
    assert parquet.read_table(tmp_path / "out.parquet").to_pylist() == [flat(line) for line in predictions]
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        'id,genres.labels,"genres.probabilities.sci, fi",where.values',
        '0,[],0.25,"[1.5, 2.0]"',
        '1,"[""sci, fi""]",0.75,"[1, 2]"',
    ]


@pytest.fixture(scope="module")
def tables(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """test.jsonl in the other formats, with columns that nobody asked for."""
    folder = tmp_path_factory.mktemp("tables")
    rows = [json.loads(line) for line in (tiny_data / "test.jsonl").read_text().splitlines()]
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "test.parquet")
    for name, delimiter in (("test.csv", ","), ("test.tsv", "\t")):
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
            writer.writeheader()
            writer.writerows({**row, "features": json.dumps(row["features"])} for row in rows)
    return folder


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_every_kind_of_input_predicts_the_same(
    tiny_run: Path, tiny_data: Path, tables: Path, tmp_path: Path, suffix: str
) -> None:
    predict(tiny_run, tiny_data / "test.jsonl", tmp_path / "expected.jsonl", device="cpu")
    predict(tiny_run, tables / f"test{suffix}", tmp_path / "found.jsonl", device="cpu")
    assert (tmp_path / "found.jsonl").read_bytes() == (tmp_path / "expected.jsonl").read_bytes()


def test_the_delimiter_of_the_recipe_is_that_of_csv(tiny_recipe: Path, tmp_path: Path) -> None:
    sets = ["data.format=csv", "data.delimiter=;"]
    (tmp_path / "in.csv").write_text('question;features\nis it red ?;"[0, 1, 0, 1]"\n')
    (tmp_path / "in.tsv").write_text('question\tfeatures\nis it red ?\t"[0, 1, 0, 1]"\n')
    recipe = load_recipe(tiny_recipe, sets=sets)
    for name in ("in.csv", "in.tsv"):
        (sample,) = load_samples(recipe, tmp_path / name)
        assert sample.inputs == {"question": "is it red ?", "features": [0, 1, 0, 1]}
        assert sample.id == f"{name}:2"


def test_only_a_batch_is_read_at_a_time(tiny_run: Path) -> None:
    """Of a stream, before its first predictions; and those are written before more is read."""
    read: list[int] = []
    told = io.StringIO()

    def lines() -> Iterator[bytes]:
        for index in range(5):
            assert told.getvalue().count("\n") == index // 2 * 2
            read.append(index)
            yield json.dumps({"id": index, "question": "is it red ?", "features": [0, 1, 0, 1]}).encode() + b"\n"

    assert predict(tiny_run, lines(), told, batch_size=2, device="cpu") == 5
    assert [json.loads(line)["id"] for line in told.getvalue().splitlines()] == ["0", "1", "2", "3", "4"]
    assert read == [0, 1, 2, 3, 4]


def test_a_stream_predicts_what_its_file_does(tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    predict(tiny_run, tiny_data / "test.jsonl", tmp_path / "out.jsonl", device="cpu")
    told = io.StringIO()
    with (tiny_data / "test.jsonl").open("rb") as file:
        assert predict(tiny_run, file, told, device="cpu") == 16
    assert told.getvalue() == (tmp_path / "out.jsonl").read_text()
