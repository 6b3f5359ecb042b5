"""`adaptkit compare`: runs side by side."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from adaptkit.training.comparing import compared, frontier
from tests.cli.conftest import Cli

SCORES = {"vqa.accuracy": 0.5, "caption.cider_d": 1.2, "mood.mae": 0.25}


def write_run(
    runs: Path,
    name: str,
    percent: float,
    scores: dict[str, float | None],
    *,
    started: str = "2026-01-01",
    **told: Any,
) -> Path:
    """A finished run, as far as a comparison reads it. CIDEr-D counts by tens."""
    run = runs / name / f"{started}-0"
    run.mkdir(parents=True)
    tables = [f"[task.{metric.partition('.')[0]}]\n" for metric in scores]
    text = "".join(tables).replace("[task.caption]\n", "[task.caption]\nmonitor_scale = 10.0\n")
    (run / "resolved.toml").write_text(text)
    (run / "status.json").write_text(json.dumps({"name": name, "status": "finished", "started": started}))
    summary = {
        "metrics": {"test": {"loss": 1.0, **scores}, "validation": {}},
        "parameters": {"percent": percent, "trainable": round(percent * 1000)},
        "monitor": {"metric": " + ".join(scores), "value": None},
        "std": {},
        "seconds_per_sample": 0.0123,
    }
    (run / "summary.json").write_text(json.dumps(summary | told))
    return run


@pytest.fixture
def compared_runs(tmp_path: Path) -> Path:
    runs = tmp_path / "runs"
    write_run(runs, "single", 4.18, SCORES)
    write_run(runs, "single", 4.18, SCORES | {"vqa.accuracy": 0.6}, started="2026-01-02")
    write_run(runs, "lora", 5.93, SCORES | {"vqa.accuracy": 0.4}, std={"test": {"vqa.accuracy": 0.01, "loss": 2.0}})
    write_run(runs, "broken", 2.0, SCORES | {"vqa.accuracy": None}, seconds_per_sample=None)
    return runs


def test_the_newest_run_of_each_recipe_side_by_side(
    cli: Cli, compared_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = cli("compare", "--runs", compared_runs).out
    assert all(text in drawn for text in ("0.4000 ± 0.0100", "0.1567", "4,180"))
    monkeypatch.delenv("COLUMNS")
    lines = cli("compare", "--runs", compared_runs).out.splitlines()
    header, *rows = [line.split("\t") for line in lines]
    assert header == ["run", "trainable", "%", *SCORES, "average", "s per sample"]
    assert rows == [
        ["broken 2026-01-01-0", "2,000", "2.00", "-", "1.2000", "0.2500", "-", "-"],
        ["lora 2026-01-01-0", "5,930", "5.93", "0.4000 ± 0.0100", "1.2000", "0.2500", "0.0900", "0.012"],
        ["single 2026-01-02-0", "4,180", "4.18", "0.6000", "1.2000", "0.2500", "0.1567", "0.012"],
    ]  # (0.6 + 1.2 / 10 - 0.25) / 3


def test_runs_that_are_named_and_all_of_a_folder(cli: Cli, compared_runs: Path) -> None:
    one = compared_runs / "lora" / "2026-01-01-0"
    document = cli("compare", one, compared_runs / "single", "--json").json
    assert [run["name"] for run in document["runs"]] == ["lora", "single", "single"]
    assert document["runs"][0]["std"] == {"vqa.accuracy": 0.01}
    assert [run["name"] for run in cli("compare", compared_runs, "--json").json["runs"]] == [
        "broken", "lora", "single", "single",
    ]  # fmt: skip


def test_a_run_that_was_trained(cli: Cli, tiny_run: Path) -> None:
    document = cli("compare", tiny_run, "--json").json
    summary = json.loads((tiny_run / "summary.json").read_text())
    (row,) = document["runs"]
    assert row["scores"] == {"accuracy": summary["metrics"]["test"]["accuracy"]}
    assert (row["percent"], row["average"]) == (summary["parameters"]["percent"], None)
    assert row["seconds_per_sample"] == summary["seconds_per_sample"] > 0
    assert "average" not in cli("compare", tiny_run).out


def test_the_drawing(cli: Cli, compared_runs: Path, tmp_path: Path) -> None:
    for suffix, magic in ((".svg", b"<?xml"), (".png", b"\x89PNG")):
        file = tmp_path / f"scores{suffix}"
        assert f"drawn: {file}" in cli("compare", "--runs", compared_runs, "--plot", file).out
        assert file.read_bytes().startswith(magic)
        assert cli("compare", "--runs", compared_runs, "--plot", file).code == 2
    assert cli("compare", "--runs", compared_runs, "--plot", file, "--force").code == 0


def test_the_best_of_each_size(compared_runs: Path) -> None:
    rows = [compared(path.parent, "test") for path in sorted(compared_runs.glob("*/*/summary.json"))]
    assert [(row.name, row.percent) for row in frontier(rows)] == [("single", 4.18)]
    loss = write_run(compared_runs, "less", 1.0, {"loss": 2.0})
    assert compared(loss, "test").score == -2.0


def test_what_cannot_be_compared(cli: Cli, compared_runs: Path, tmp_path: Path) -> None:
    run = compared_runs / "lora" / "2026-01-01-0"
    wrong: list[tuple[list[object], int, str]] = [
        (["--runs", tmp_path / "nowhere"], 1, "no finished run"),
        ([tmp_path / "nowhere"], 1, "does not exist"),
        ([tmp_path], 1, "has no finished run"),
        ([run, "--split", "tset"], 1, "has no split 'tset'"),
        ([run, "--plot", "scores.txt"], 2, "is no drawing"),
        ([run, "--plot", tmp_path / "no" / "x.svg"], 2, "does not exist"),
    ]
    code = cli("compare", tmp_path / "nowhere").code
    for words, expected, message in wrong:
        outcome = cli("compare", *words)
        assert message in outcome.err, outcome.err
        assert outcome.code == (expected if expected == 2 else code)
    for damage in ("{", "{}", '{"metrics": 3}', json.dumps({"metrics": {"test": {}}, "parameters": {}, "monitor": {}})):
        (run / "summary.json").write_text(damage)
        outcome = cli("compare", run)
        assert (outcome.code, "summary that cannot be read" in outcome.err) == (code, True), outcome.err
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(status | {"status": "diverged"}))
    assert "is not finished (diverged)" in cli("compare", run).err


def test_drawing_needs_matplotlib(
    cli: Cli, compared_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    outcome = cli("compare", "--runs", compared_runs, "--plot", tmp_path / "x.svg")
    assert (outcome.code, "adaptkit[plot]" in outcome.err) == (7, True)
