"""`adaptkit cache`: what is kept, whether it is whole, and how it goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from adaptkit.cache.entry import Entry, Rows

from .conftest import Cli


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    for number in range(3):
        found = Entry.of(tmp_path / "cache", f"model {number}", {"weights": str(number)})
        with found.filling():
            found.add([bytes(16)], {"states": Rows(torch.ones(1, 100), torch.tensor([1]))}, {})
        found.close()
        os.utime(found.folder / "entry.json", (1e9 + number, 1e9 + number))
    return tmp_path / "cache"


def left(cli: Cli, cache: Path) -> list[str]:
    return [entry["what"] for entry in cli("cache", "list", "--folder", cache, "--json").json["entries"]]


def test_list(cache: Path, cli: Cli) -> None:
    answer = cli("cache", "list", "--folder", cache, "--json").json
    assert [entry["what"] for entry in answer["entries"]] == ["model 2", "model 1", "model 0"]
    assert not any(entry["in_use"] for entry in answer["entries"])
    assert answer["bytes"] == sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    shown = cli("cache", "list", "--folder", cache).out
    assert "3 kept models" in shown
    assert "model 1" in shown


def test_where_nothing_is_kept(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "never"))
    assert "0 kept models" in cli("cache", "list").out
    assert cli("cache", "verify").code == 0
    assert cli("cache", "prune", "--all").code == 0
    assert not (tmp_path / "never").exists()
    monkeypatch.setenv("ADAPTKIT_CACHE", "off")
    assert cli("cache", "list").code == 2
    found = cli("cache", "list", "--folder", tmp_path / "none")
    assert found.code == 4
    assert "is not a folder" in found.err


def test_verify(cache: Path, cli: Cli) -> None:
    assert cli("cache", "verify", "--folder", cache, "--json").json["files"] == 3
    damaged = sorted(cache.rglob("*.safetensors"))[1]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    found = cli("cache", "verify", "--folder", cache)
    assert found.code == 4
    assert str(damaged) in found.err
    assert damaged.exists(), "verifying changes nothing"
    assert cli("cache", "verify", "--folder", cache, "--json").json["damaged"] == [str(damaged)]


def test_prune(cache: Path, cli: Cli) -> None:
    found = cli("cache", "prune", "--folder", cache)
    assert found.code == 2
    assert "--keep-gb" in found.err
    size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    cli("cache", "prune", "--folder", cache, "--keep-gb", size * 0.7 / 1e9)
    assert left(cli, cache) == ["model 2", "model 1"]
    assert cli("cache", "prune", "--folder", cache, "--unused-days", 1e5).out.startswith("removed 0")
    reader = Entry.of(cache, "model 2", {"weights": "2"})
    found = cli("cache", "prune", "--folder", cache, "--unused-days", 1, "--json").json
    assert len(found["removed"]) == 1
    os.utime(reader.folder / "entry.json", (1, 1))
    found = cli("cache", "prune", "--folder", cache, "--all", "--json").json
    assert found["in_use"] == [reader.folder.name]
    reader.close()
    assert cli("cache", "prune", "--folder", cache, "--all").code == 0
    assert left(cli, cache) == []
