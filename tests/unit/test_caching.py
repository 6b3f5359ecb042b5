"""One folder for all caches, and a way to have none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from adaptkit.caching import cache_root


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ADAPTKIT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("word", ["off", "OFF", "0"])
def test_nothing_is_kept_where_it_is_switched_off(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTKIT_CACHE", word)
    assert cache_root() is None


def test_the_folder_that_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTKIT_CACHE", "~/fast disk")
    assert cache_root() == home / "fast disk"
    monkeypatch.chdir(home)
    monkeypatch.setenv("ADAPTKIT_CACHE", "here")
    assert cache_root() == home / "here"


@pytest.mark.parametrize(
    ("system", "folder"),
    [("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "AppData/Local")],
)
def test_else_the_folder_of_the_system(system: str, folder: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    assert cache_root() == home / folder / "adaptkit"


def test_the_folders_that_a_system_names(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    assert cache_root() == home / "xdg" / "adaptkit"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the specification says to ignore
    assert cache_root() == home / ".cache" / "adaptkit"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(home / "local"))
    assert cache_root() == home / "local" / "adaptkit"
