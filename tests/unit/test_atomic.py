from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adaptkit.atomic import new_file, new_folder, sweep, write_bytes, write_json
from adaptkit.errors import RunError


class CrashError(Exception):
    """Stands in for the end of the world."""


def crash(*_: object) -> None:
    raise CrashError


def write_then(error: type[BaseException], path: Path) -> None:
    path.write_text("half")
    raise error


def test_a_crash_before_the_rename_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    write_bytes(path, b"old")
    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(CrashError):
        write_bytes(path, b"new, but never finished")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state"]


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("old")
    with pytest.raises(CrashError), new_file(path) as temporary:
        write_then(CrashError, temporary)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["lines"]


def test_an_interrupt_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "artifact") as temporary:
        write_then(KeyboardInterrupt, temporary / "file")
    assert os.listdir(tmp_path) == []


def test_json_replaces_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "x.json", {"a": 1})
    write_json(tmp_path / "a" / "x.json", {"a": "ä"})
    assert json.loads((tmp_path / "a" / "x.json").read_text()) == {"a": "ä"}


def test_a_folder_takes_its_place_only_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    with new_folder(path) as temporary:
        (temporary / "one").write_text("1")
        assert not path.exists()
    assert os.listdir(path) == ["one"]
    with pytest.raises(RunError, match="exists already"), new_folder(path):
        pass
    with pytest.raises(CrashError), new_folder(path, replace=True) as temporary:
        write_then(CrashError, temporary / "two")
    assert os.listdir(path) == ["one"]
    with new_folder(path, replace=True) as temporary:
        (temporary / "two").write_text("2")
    assert os.listdir(path) == ["two"]
    assert os.listdir(tmp_path) == ["artifact"]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "artifact"
    with new_folder(path) as temporary:
        (temporary / "one").write_text("1")
    real = os.replace

    def refuse_new(source: Path, target: Path) -> None:
        if str(source).endswith(".tmp"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", refuse_new)
    with pytest.raises(RunError, match="No space left"), new_folder(path, replace=True) as temporary:
        (temporary / "two").write_text("2")
    monkeypatch.undo()
    assert os.listdir(path) == ["one"]
    assert os.listdir(tmp_path) == ["artifact"]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        write_bytes(tmp_path / "file" / "below", b"")
    with pytest.raises(RunError, match="cannot be written"), new_folder(tmp_path / "file" / "below"):
        pass


KILLED = """
import os, signal, sys
from pathlib import Path
from adaptkit.atomic import new_file, new_folder
with (new_folder if sys.argv[2] == "folder" else new_file)(Path(sys.argv[1]), **eval(sys.argv[3])) as temporary:
    (temporary / "new" if temporary.is_dir() else temporary).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_a_killed_writer_left_is_swept_by_the_next(tmp_path: Path, what: str) -> None:
    path = tmp_path / "state"
    subprocess.run([sys.executable, "-c", KILLED, str(path), what, "{}"], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".state.")
    with new_file(tmp_path / "other"):
        assert left.exists()
    with new_file(path), new_file(path) as second:  # of two living writers none removes the other's
        second.write_text("new")
    assert sorted(os.listdir(tmp_path)) == ["other", "state"]


def test_a_folder_put_aside_comes_back(tmp_path: Path) -> None:
    """Killed between the two renames of `new_folder`: the old content is in `.old`, the new one in `.tmp`."""
    for name in (".store.x.old", ".store.x.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name[-3:]).write_text("")
    sweep(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["store", "store/old"]
    (tmp_path / ".store.y.old").mkdir()  # killed after the second one
    sweep(tmp_path, "store")
    assert os.listdir(tmp_path) == ["store"]
