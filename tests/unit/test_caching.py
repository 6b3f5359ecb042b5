"""One folder for all caches, and a way to have none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from adaptkit.caching import cache_root, recall, remember


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


KEY, VALUE = 'a key with "quotes" and ümlauts', {"lines": [["+ gmu", "green"], ["", ""]], "n": 1.5, "none": None}


@pytest.fixture
def room(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPTKIT_CACHE", str(home / "cache"))
    return home / "cache" / "plans"


def test_what_is_remembered_is_recalled_under_its_key_alone(room: Path) -> None:
    assert recall("plans", KEY) is None
    remember("plans", KEY, VALUE)
    assert recall("plans", KEY) == VALUE
    assert recall("plans", KEY + " ") is None
    assert recall("anatomies", KEY) is None
    remember("plans", KEY, {"n": 2})
    assert recall("plans", KEY) == {"n": 2}


def test_no_damage_is_believed(room: Path) -> None:
    """A flipped bit, a cut, another entry in its place: it is as if nothing had been there, and is written anew."""
    remember("plans", KEY, VALUE)
    (entry,) = room.iterdir()
    whole = entry.read_bytes()
    damaged = [bytes([*whole[:at], whole[at] ^ 1, *whole[at + 1 :]]) for at in range(len(whole))]
    damaged += [whole[:cut] for cut in range(0, len(whole), 7)] + [b"[]", b"null", b"\xff\xfe", b"[" * 100_000]
    for content in damaged:
        entry.write_bytes(content)
        assert recall("plans", KEY) in (None, VALUE)
    remember("plans", KEY + "!", {"n": 2})
    (other,) = set(room.iterdir()) - {entry}
    entry.write_bytes(other.read_bytes())
    assert recall("plans", KEY) is None
    remember("plans", KEY, VALUE)
    assert recall("plans", KEY) == VALUE
    entry.unlink()
    entry.mkdir()
    assert recall("plans", KEY) is None
    remember("plans", KEY, VALUE)  # cannot be, and says nothing


def test_a_folder_that_cannot_be_written_is_no_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("not a folder")
    monkeypatch.setenv("ADAPTKIT_CACHE", str(home / "file"))
    remember("plans", KEY, VALUE)
    assert recall("plans", KEY) is None
    monkeypatch.setenv("ADAPTKIT_CACHE", "off")
    remember("plans", KEY, VALUE)
    assert recall("plans", KEY) is None
    assert (home / "file").read_text() == "not a folder"


def test_the_entries_that_were_used_last_stay(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptkit.caching.MOST", 3)
    for number in range(6):
        remember("plans", str(number), number)
        for age, entry in enumerate(sorted(room.iterdir(), key=lambda file: -file.stat().st_mtime_ns)):
            os.utime(entry, (1000 - age, 1000 - age))
        assert recall("plans", "0") == 0
    assert [recall("plans", str(number)) for number in range(6)] == [0, None, None, None, 4, 5]
