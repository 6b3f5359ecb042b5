"""Activations on disk: whole or not there, known again by their samples, never believed when damaged."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adaptkit.cache import entry as entries_module
from adaptkit.cache.entry import Entry, Rows
from adaptkit.cache.folder import cache_folder, entries, make_room
from adaptkit.cache.identity import UnknowableError, identity
from adaptkit.data.paths import ArrayPath

FORM = {"dtypes": {"states": "float32"}}


def keys(*names: object) -> list[bytes]:
    return [identity([name]) for name in names]


def rows(*lengths: int, width: int = 3) -> dict[str, Rows]:
    values = torch.arange(sum(lengths) * width, dtype=torch.float32).view(-1, width)
    return {"states": Rows(values, torch.tensor(lengths))}


def filled(cache: Path, what: str = "a model", **facts: object) -> Entry:
    found = Entry.of(cache, what, {"weights": "1", **facts})
    with found.filling():
        found.add(keys("a", "b"), rows(2, 3), FORM)
        found.commit()
        found.add(keys("c"), rows(1), FORM)
    return found


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    filled(tmp_path)
    found = Entry.of(tmp_path, "told in other words", {"weights": "1"})
    assert len(found) == 3
    assert found.form == FORM
    taken = found.take(keys("c", "b", "b"))
    assert taken is not None
    assert taken["states"].counts.tolist() == [1, 3, 3]
    expected = torch.cat([rows(1)["states"].values, *[rows(2, 3)["states"].values[2:]] * 2])
    assert torch.equal(taken["states"].values, expected)
    assert found.take(keys("a", "d")) is None
    again = pickle.loads(pickle.dumps(found))
    assert again.take(keys("a"))["states"].counts.tolist() == [2]


def test_other_facts_are_another_entry(tmp_path: Path) -> None:
    filled(tmp_path)
    assert len(Entry.of(tmp_path, "a model", {"weights": "2"})) == 0
    assert len(entries(tmp_path)) == 1  # nothing is made by looking


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "swap"])
def test_a_damaged_shard_is_thrown_away(damage: str, tmp_path: Path) -> None:
    kept = filled(tmp_path)
    first, second = sorted(kept.folder.glob("*.safetensors"))
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    spoilt = {"flip": bytes(content), "cut": first.read_bytes()[:-4], "empty": b"", "swap": second.read_bytes()}
    first.write_bytes(spoilt[damage])
    os.utime(first, ns=(1, 1))
    found = Entry.of(tmp_path, "", {"weights": "1"})
    assert found.damaged == [first]
    assert not first.exists()
    assert 0 < len(found) < 3
    with found.filling():
        found.add(keys("a", "b"), rows(2, 3), FORM)
        found.add(keys("c"), rows(1), FORM)
    assert len(Entry.of(tmp_path, "", {"weights": "1"})) == 3


def test_a_kill_costs_what_was_not_written(tmp_path: Path) -> None:
    code = f"""
import os, torch
from pathlib import Path
from adaptkit.cache.entry import Entry, Rows
from adaptkit.cache import entry
entry.SHARD_BYTES = 24
found = Entry.of(Path({str(tmp_path)!r}), "", {{"weights": "1"}})
write = entry.write_bytes
with found.filling():
    for number in range(10):
        if number == 4:  # killed with half of a shard written
            def half(path, content):
                with entry.new_file(path) as temporary:
                    temporary.write_bytes(content[: len(content) // 2])
                    os.kill(os.getpid(), 9)
            from adaptkit import atomic
            entry.new_file = atomic.new_file
            entry.write_bytes = half
        rows = Rows(torch.full((2, 3), float(number)), torch.tensor([2]))
        found.add([bytes([number]) * 16], {{"states": rows}}, {{}})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    found = Entry.of(tmp_path, "", {"weights": "1"})
    assert len(found) == 4
    assert not found.damaged
    with found.filling():
        assert not list(found.folder.glob(".*.tmp")), "what was left half written is gone"
        left = [bytes([number]) * 16 for number in range(10) if bytes([number]) * 16 not in found]
        assert len(left) == 6


def test_an_interruption_keeps_what_was_computed(tmp_path: Path) -> None:
    found = Entry.of(tmp_path, "", {"weights": "1"})

    def interrupted() -> None:
        with found.filling():
            found.add(keys("a"), rows(2), FORM)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert keys("a")[0] in Entry.of(tmp_path, "", {"weights": "1"})


def test_a_shard_is_written_when_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries_module, "SHARD_BYTES", 30)
    found = Entry.of(tmp_path, "", {"weights": "1"})
    with found.filling():
        for name in "abcd":
            found.add(keys(name), rows(1), FORM)
            assert found.take(keys(name)) is None or name in "cd"
    assert len(list(found.folder.glob("*.safetensors"))) == 2


def test_room_is_made_of_what_was_used_least_recently(tmp_path: Path) -> None:
    folders = {}
    for number, name in enumerate(("old", "new", "mine")):
        folders[name] = filled(tmp_path, name=name).folder
        os.utime(folders[name] / "entry.json", (number, number))
    size = sum(entry.bytes for entry in entries(tmp_path))
    assert [entry.used for entry in entries(tmp_path)] == [2, 1, 0]
    assert make_room(tmp_path, 10, size + 10, folders["mine"])
    assert len(entries(tmp_path)) == 3
    assert make_room(tmp_path, 10, size, folders["mine"])
    assert {entry.folder for entry in entries(tmp_path)} == {folders["new"], folders["mine"]}
    assert not make_room(tmp_path, size, size, folders["mine"])
    assert len(entries(tmp_path)) == 2, "nothing goes for what would not fit anyway"


def test_what_is_read_is_not_removed(tmp_path: Path) -> None:
    kept = filled(tmp_path)
    (found,) = entries(tmp_path)
    assert found.in_use()
    assert not found.remove()
    folder = kept.folder
    kept.close()
    assert not found.in_use()
    assert found.remove()
    assert not folder.exists()


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "set"))
    assert cache_folder() == tmp_path / "set" / "activations"
    assert cache_folder(tmp_path) == tmp_path
    monkeypatch.setenv("ADAPTKIT_CACHE", "off")
    assert cache_folder() is None
    assert cache_folder(tmp_path) == tmp_path


def test_equal_values_have_equal_identities(tmp_path: Path) -> None:
    picture = Image.fromarray(np.zeros((2, 2, 3), dtype=np.uint8))
    (tmp_path / "frames").mkdir()
    for name in ("a.npy", "b.npy", "frames/c.npy"):
        np.save(tmp_path / name, np.ones(3))
    values = ["a", "b", "", b"a", 1, 1.0, True, None, ["a"], ["a", None], {"a": 1}, {"a": 2}, picture, np.ones(3)]
    values += [np.ones((3, 1)), np.ones(3, dtype=np.float32), torch.zeros(3), tmp_path / "a.npy", tmp_path / "frames"]
    values += [ArrayPath(tmp_path / "a.npy", "x"), ArrayPath(tmp_path / "a.npy", "y"), str(tmp_path / "a.npy")]
    found = keys(*values)
    assert found == keys(*values)
    assert len(set(found)) == len(values)
    assert keys(tmp_path / "a.npy") == keys(tmp_path / "b.npy"), "a file is what it holds"
    assert identity(["ab", "c"]) != identity(["a", "bc"])
    with pytest.raises(UnknowableError):
        identity([object()])


def test_a_changed_file_is_another_sample(tmp_path: Path) -> None:
    file, folder = tmp_path / "a.bin", tmp_path / "frames"
    folder.mkdir()
    for path in (file, folder / "0.bin"):
        path.write_bytes(b"one")
    texts = [f"{file}::key", str(file)]
    before = keys(file, folder, ArrayPath(file, "key"), *texts)
    for path in (file, folder / "0.bin"):
        path.write_bytes(b"two")
        os.utime(path, ns=(5, 5))
    after = keys(file, folder, ArrayPath(file, "key"), *texts)
    assert all(one != other for one, other in zip(before, after, strict=True))
