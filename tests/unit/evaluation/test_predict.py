from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptkit.errors import DataError, UnavailableError, UsageError
from adaptkit.evaluation import predict
from adaptkit.evaluation.predicting import _pyarrow


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


def test_kinds_of_output(tiny_run: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"cannot write \.csv"):
        predict(tiny_run, tiny_data / "test.jsonl", tmp_path / "out.csv")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UnavailableError, match="needs pyarrow"):
        predict(tiny_run, tiny_data / "test.jsonl", tmp_path / "out.parquet")


def test_parquet(tiny_run: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, parquet = _pyarrow()
    monkeypatch.setattr("adaptkit.evaluation.predicting._ROWS", 5)
    predict(tiny_run, tiny_data / "test.jsonl", tmp_path / "out.parquet", device="cpu")
    predict(tiny_run, tiny_data / "test.jsonl", tmp_path / "out.jsonl", device="cpu")
    assert parquet.read_table(tmp_path / "out.parquet").to_pylist() == lines_of(tmp_path / "out.jsonl")
