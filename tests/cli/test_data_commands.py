"""`adaptkit data`: from an invented download to a store, and what is wrong with either."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Cli

RECIPE = """\
schema = 1
name = "films"
[backbone]
model = "minilm"
max_tokens = 8
[modality.plot]
kind = "text"
route = "backbone"
[modality.poster]
kind = "image"
size = 4
route = "side"
missing = "zero"
[modality.sound]
kind = "features"
width = 2
max_tokens = 2
route = "side"
[adapter.fuse]
kind = "gmu"
at = ["mlp.out"]
sides = ["poster", "sound"]
[data]
format = "jsonl"
[task.genre]
kind = "classification"
"""


@pytest.fixture
def download(cli: Cli, tmp_path: Path) -> Path:
    assert cli("data", "synth", "mosi", tmp_path / "mosi", "--samples", 12, "--seed", 3).code == 0
    return tmp_path / "mosi"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    Image.new("RGB", (4, 4)).save(tmp_path / "p.png")
    for split in ("train", "validation", "test"):
        rows = [
            {
                "id": f"{split}{n}",
                "plot": "a b c d e f g h i j" if n == 0 else "short",
                "poster": "p.png" if n else None,
                "sound": [[0.5, 1.0]] * (n + 1),
                "genre": ["drama", "comedy"][n % 2] if split != "test" else "drama",
            }
            for n in range(4)
        ]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "films.toml").write_text(RECIPE)
    return tmp_path / "films.toml"


def test_a_download_is_imported_checked_and_described(cli: Cli, download: Path) -> None:
    made = cli("data", "import", "mosi", download, "--json").json
    assert made["ok"] is True
    assert made["store"] == str(download / "adaptkit")
    assert made["splits"]["train"] == 12
    assert made["columns"]["audio"]["kind"] == "features"
    checked = cli("data", "check", "mosi", download, "--json").json
    assert checked["ok"] is True
    audio = checked["splits"]["train"]["columns"]["audio"]
    assert (audio["present"], audio["widths"], audio["not_finite"]) == (12, [5], 0)
    assert any("NaN or infinity in audio" in text for text in checked["notes"])
    assert any("vision is missing in 1 of 12" in text for text in checked["warnings"])
    stats = cli("data", "stats", "mosi", download / "adaptkit", "--json").json
    assert stats["splits"]["train"]["columns"]["sentiment"]["values"]["max"] <= 3


def test_the_same_as_text(cli: Cli, download: Path) -> None:
    assert "train 12" in cli("data", "import", "mosi", download).out
    for verb in ("check", "stats"):
        outcome = cli("data", verb, "mosi", download)
        assert outcome.code == 0
        assert "sentiment" in outcome.out
    assert "median" in outcome.out


def test_synth_is_a_function_of_the_seed(cli: Cli, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        cli("data", "synth", "mosi", tmp_path / name, "--samples", 8, "--seed", seed)
        assert cli("data", "import", "mosi", tmp_path / name).code == 0
    files = {
        name: (tmp_path / name / "adaptkit" / "features" / "text.train.safetensors").read_bytes() for name in "abc"
    }
    assert files["a"] == files["b"] != files["c"]


def test_nothing_is_overwritten_unasked(cli: Cli, download: Path) -> None:
    assert cli("data", "synth", "mosi", download).code == 2
    assert cli("data", "import", "mosi", download).code == 0
    before = (download / "adaptkit" / "meta.json").read_bytes()
    outcome = cli("data", "import", "mosi", download)
    assert outcome.code == 2
    assert "Give --force to replace it" in outcome.err
    assert (download / "adaptkit" / "meta.json").read_bytes() == before
    assert cli("data", "import", "mosi", download, "--force").code == 0
    assert cli("data", "import", "mosi", download, "--to", download / "other").code == 0


def test_a_damaged_store_and_a_changed_source_are_told(cli: Cli, download: Path) -> None:
    cli("data", "import", "mosi", download)
    source = next(path for path in download.rglob("*.pkl"))
    source.write_bytes(source.read_bytes() + b"\0")
    outcome = cli("data", "check", "mosi", download)
    assert outcome.code == 0
    assert "changed since the import" in outcome.out
    file = download / "adaptkit" / "train.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    document = cli("data", "check", "mosi", download, "--json").json
    assert (document["ok"], document["code"]) == (False, 4)
    assert "was changed after the import" in document["errors"][0]["message"]


def test_a_download_that_was_not_imported_says_the_command(cli: Cli, download: Path) -> None:
    outcome = cli("data", "check", "mosi", download)
    assert outcome.code == 4
    assert f"adaptkit data import mosi {download}" in outcome.err


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize("attack", ["system", "object array", "truncated", "archive", "bomb"])
def test_a_malicious_download_does_nothing(
    cli: Cli, download: Path, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(download)
    source = next(path for path in download.rglob("*.pkl"))
    good = source.read_bytes()
    array = np.empty(1, dtype=object)
    array[0] = Evil()
    content = {
        "system": pickle.dumps({"train": Evil()}),
        "object array": pickle.dumps({"train": {"text": array}}),
        "truncated": good[: len(good) // 2],
        "archive": b"PK\x03\x04" + b"\0" * 100,
        "bomb": b"]" * 1000 + b"a" * 999 + b".",
    }[attack]
    source.write_bytes(content)
    before = sorted(download.rglob("*"))
    outcome = cli("data", "import", "mosi", download)
    assert outcome.code == 4
    assert source.name in outcome.err
    assert sorted(download.rglob("*")) == before  # nothing ran, nothing is left, nothing is lost
    assert source.read_bytes() == content


def test_a_recipe_is_checked_sample_by_sample(cli: Cli, films: Path) -> None:
    document = cli("data", "check", films, "--json").json
    assert document["ok"] is True
    train = document["splits"]["train"]["columns"]
    assert (train["poster"]["present"], train["poster"]["missing"]) == (3, 1)
    assert (train["plot"]["limit"], train["plot"]["cut"], train["plot"]["lost"]) == (8, 1, 4)  # 10 words, [CLS], [SEP]
    assert (train["sound"]["limit"], train["sound"]["cut"], train["sound"]["lost"]) == (2, 2, 3)
    assert train["genre"]["labels"] == {"comedy": 2, "drama": 2}
    warnings = "\n".join(document["warnings"])
    assert "train: poster is missing in 1 of 4" in warnings
    assert "train: 1 of 4 plot have more than 8 tokens and are cut" in warnings
    assert "test: genre lacks labels of train: comedy" in warnings


def test_samples_that_cannot_be_read_are_problems(cli: Cli, films: Path) -> None:
    (films.parent / "p.png").write_bytes(b"not a picture")
    rows = [json.loads(line) for line in (films.parent / "test.jsonl").read_text().splitlines()]
    rows[2]["sound"] = [[float("nan"), 0.0]]
    (films.parent / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = cli("data", "check", films)
    assert outcome.code == 4
    assert "train.jsonl:2 (sample train1)" in outcome.err
    assert "NaN or infinite" in outcome.err


def test_a_recipe_is_described_without_torch_or_files(cli: Cli, films: Path) -> None:
    document = cli("data", "stats", films, "--json").json
    train = document["splits"]["train"]["columns"]
    assert train["plot"]["words"]["max"] == 10
    assert train["sound"]["length"]["max"] == 4
    assert train["sound"]["widths"] == [2]
    assert train["poster"] == {"kind": "image", "present": 3, "missing": 1}


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["data"], "data --help"),
        (["data", "imprt", "mosi", "x"], 'Did you mean "import"?'),
        (["data", "import", "moviscope", "x"], 'Did you mean "moviescope"?'),
        (["data", "import", "mosi", ".", "--variant", "nonsense"], "no variant"),
        (["data", "import", "mosi", ".", "--option", "colour=1"], "no option 'colour'"),
        (["data", "import", "mosi", ".", "--option", "colour"], "not KEY=VALUE"),
        (["data", "import", "moviescope", ".", "--option", "mean=perhaps"], "a bool is expected"),
        (["data", "check", "mosi"], "say where it lies"),
        (["data", "synth", "mosi", "x", "--samples", "0"], "--samples"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_errors_say_what_to_type(cli: Cli, words: list[str], hint: str) -> None:
    outcome = cli(*words)
    assert outcome.code == 2
    assert hint in outcome.err


def test_benchmarks_are_listed_with_the_formats(cli: Cli) -> None:
    names = {row["name"] for row in cli("list", "formats", "--json").json["items"]}
    assert {"jsonl", "csv", "parquet", "hf", "moviescope", "mmimdb", "mosi", "food101", "msrvtt"} <= names


@pytest.mark.parametrize("command", ["validate", "train"])
def test_a_benchmark_that_is_not_there_says_how_to_get_it(cli: Cli, command: str, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    outcome = cli(command, "moviescope_text", "--set", f'data.root="{absent}"')
    assert outcome.code == 4
    for told in ("docs/datasets.md", f"adaptkit data synth moviescope {absent}", f"data import moviescope {absent}"):
        assert outcome.err.count(told) == 1


def test_every_benchmark_of_the_recipe_language_is_there() -> None:
    from adaptkit.kinds import BENCHMARKS, FORMATS

    assert set(BENCHMARKS) < set(FORMATS)
    assert len(BENCHMARKS) == 17
    for name, source in BENCHMARKS.items():
        assert source.name == name
        assert source.title
        assert source.url
        assert source.columns
