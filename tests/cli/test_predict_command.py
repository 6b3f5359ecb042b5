"""`adaptkit predict`: files of every kind, pipes, and one clear error for each thing that is wrong with an input."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from tests.cli.conftest import Cli

GOOD = {"question": "is it red ?", "features": [0, 1, 0, 1]}
LINE = json.dumps(GOOD) + "\n"
HEAD, CELLS = "question,features\n", 'is it red ?,"[0, 1, 0, 1]"\n'


def test_files_of_every_kind(cli: Cli, tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    words = ["predict", tiny_run, "--input", tiny_data / "test.jsonl", "--output"]
    assert cli(*words, output, "--json").json["predictions"] == len(output.read_text().splitlines()) == 16
    assert cli(*words, output).code == 2
    assert cli(*words, output, "--force").out == f"16 predictions in {output}\n"
    assert cli(*words, tmp_path / "out.csv", "--batch-size", 3).code == 0
    assert (tmp_path / "out.csv").read_text().startswith("id,label,probabilities.no,probabilities.yes\n")
    outcome = cli(*words, tmp_path / "out.xlsx")
    assert (outcome.code, "Possible: .jsonl, .csv, .tsv, .parquet." in outcome.err) == (2, True)
    assert cli(*words, output, "--force", "--batch-size", 0).code == 2


WRONG = {
    "empty.jsonl": ("", "empty.jsonl  the file has no rows."),
    "empty.csv": ("", "empty.csv  the file has no header."),
    "header.csv": (HEAD, "header.csv  the file has no rows."),
    "empty.parquet": ("", "is not readable Parquet"),
    "column.jsonl": (LINE.replace("question", "qestion"), "no row has the column 'question'."),
    "column.csv": (HEAD.replace("question", "qestion") + CELLS, 'Did you mean "qestion"?'),
    "number.jsonl": (LINE * 2 + json.dumps({**GOOD, "question": 3}), "number.jsonl:3  question is 3, not a string."),
    "object.jsonl": (LINE * 2 + "[1]", "object.jsonl:3  this is a JSON list."),
    "json.jsonl": (LINE * 2 + "{oops", "json.jsonl:3  this is not JSON"),
    "absent.jsonl": (LINE * 2 + '{"question": "?"}', "absent.jsonl:3  features is absent."),
    "width.jsonl": (LINE * 2 + json.dumps({**GOOD, "features": [1]}), "width.jsonl:3  features has shape (1,)"),
    "width.csv": (HEAD + CELLS * 2 + "?,[1]\n", "width.csv:4  features has shape (1,)"),
    "path.jsonl": (LINE * 2 + json.dumps({**GOOD, "features": "x.npy"}), "path.jsonl:3  features = 'x.npy' does not"),
    "path.tsv": ((HEAD + "?,x.npy\n").replace(",", "\t"), "path.tsv:2  features = 'x.npy' does not exist"),
    "out.jsonl": (LINE + json.dumps({**GOOD, "features": "../x.npy"}), "out.jsonl:2  features = '../x.npy' leaves"),
    "cells.csv": (HEAD + CELLS + "?\n", "cells.csv:3  1 cells, not 2."),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_clear_error(cli: Cli, tiny_run: Path, tmp_path: Path, name: str) -> None:
    content, message = WRONG[name]
    (tmp_path / name).write_text(content)
    outcome = cli("predict", tiny_run, "--input", tmp_path / name, "--output", tmp_path / "found.jsonl")
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.count("error:") == 1
    assert message in " ".join(outcome.err.split("\n"))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_wrong_rows_of_parquet(cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    for rows, message in (
        ([GOOD, GOOD, {**GOOD, "features": [1]}], "in.parquet:3  features has shape (1,)"),
        ([{**GOOD, "question": 3}], "in.parquet:1  question is 3, not a string."),
    ):
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "in.parquet")
        outcome = cli("predict", tiny_run, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out.jsonl")
        assert (outcome.code, message in outcome.err) == (4, True)
    parquet.write_table(pyarrow.table({"question": ["?"], "features": [[1.0]]}).slice(1), tmp_path / "in.parquet")
    outcome = cli("predict", tiny_run, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out.jsonl")
    assert "the file has no rows." in outcome.err


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_what_is_no_file(cli: Cli, tiny_run: Path, tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"folder.{suffix}").mkdir()
    for name in (f"none.{suffix}", f"folder.{suffix}"):
        outcome = cli("predict", tiny_run, "--input", tmp_path / name, "--output", tmp_path / "out.jsonl")
        assert (outcome.code, str(tmp_path / name) in outcome.err) == (4, True)


def test_what_is_tolerated(cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    """Columns that nobody reads, the same id twice, no id at all, empty lines."""
    rows = [{**GOOD, "id": 1, "more": {}}, {**GOOD, "id": 1}, {**GOOD, "id": None}]
    (tmp_path / "in.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    assert cli("predict", tiny_run, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl").code == 0
    found = [json.loads(line)["id"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert found == ["1", "1", "in.jsonl:5"]


class Named(io.BufferedReader):
    name = "<stdin>"


@pytest.mark.parametrize(
    ("content", "predicted", "message"),
    [
        (LINE * 3, 3, "3 predictions"),
        ("", 0, "<stdin>  there are no rows."),
        (LINE * 2 + "{oops\n", 2, "<stdin>:3  this is not JSON"),
        (LINE + json.dumps({**GOOD, "question": 3}), 1, "<stdin>:2  question is 3, not a string."),
        (LINE + '{"question": "?"}', 1, "<stdin>:2  features is absent."),
        (LINE + "\udcff", 1, "<stdin>:2  this is not UTF-8"),
    ],
)
def test_standard_input(
    cli: Cli, tiny_run: Path, monkeypatch: pytest.MonkeyPatch, content: str, predicted: int, message: str
) -> None:
    """Whatever was predicted before a mistake is out."""
    source = io.BytesIO(content.encode("utf-8", "surrogateescape"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Named(source)))
    outcome = cli("predict", tiny_run, "--input", "-", "--batch-size", 1)
    assert outcome.code == (0 if predicted == 3 else 4)
    assert [json.loads(line)["id"] for line in outcome.out.splitlines()] == [
        f"<stdin>:{n + 1}" for n in range(predicted)
    ]
    assert message in outcome.err


def test_standard_output_belongs_to_one(cli: Cli, tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    words = ["predict", tiny_run, "--input", tiny_data / "test.jsonl", "--output"]
    outcome = cli(*words, "-", "--json")
    assert (outcome.code, outcome.json["code"]) == (2, 2)
    cli(*words, tmp_path / "out.jsonl")
    assert cli(*words, "-").out == (tmp_path / "out.jsonl").read_text()


def test_a_pipe_answers_each_line_before_the_next(tiny_run: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "adaptkit", "predict", str(tiny_run), "--input", "-", "--batch-size", "1"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for number in range(3):
            process.stdin.write(json.dumps({**GOOD, "id": number}).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == str(number)
        process.stdin.close()
        assert process.stdout.read() == b""
        assert b"3 predictions" in process.stderr.read()
    assert process.returncode == 0
