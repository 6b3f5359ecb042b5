from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from adaptkit.errors import RunError
from adaptkit.training.folder import (
    create_run,
    list_runs,
    newest_finished,
    read_run,
    set_status,
)


class Clock:
    """Stands in for `datetime`; the same second for ever."""

    @classmethod
    def now(cls):
        from datetime import datetime

        return datetime(2024, 5, 6, 7, 8, 9)


def test_the_name_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptkit.training.folder.datetime", Clock)
    run = create_run(tmp_path, name="tiny", digest="0123456789ab", data="d")
    assert run.path == tmp_path / "tiny" / "20240506-070809-01234567"
    (run.path / "kept").write_text("")
    with pytest.raises(RunError, match=r"exists already.*--force"):
        create_run(tmp_path, name="tiny", digest="0123456789ab", data="d")
    assert (run.path / "kept").exists()
    create_run(tmp_path, name="tiny", digest="0123456789ab", data="d", force=True)
    assert not (run.path / "kept").exists()


def test_newest_first(tmp_path: Path) -> None:
    assert list_runs(tmp_path) == []
    with pytest.raises(RunError, match="no finished run"):
        newest_finished(tmp_path)
    one = create_run(tmp_path, name="a", digest="1" * 8, data="d")
    two = create_run(tmp_path, name="b", digest="2" * 8, data="d")
    assert [run.path for run in list_runs(tmp_path)] == [two.path, one.path]
    set_status(one, "finished")
    assert newest_finished(tmp_path).path == one.path


def test_a_damaged_status_is_listed_as_such(tmp_path: Path) -> None:
    run = create_run(tmp_path, name="a", digest="1" * 8, data="d")
    (run.path / "status.json").write_text('{"status": "fin')
    assert [found.status for found in list_runs(tmp_path)] == ["unreadable"]
    (run.path / "summary.json").write_text("{")
    with pytest.raises(RunError, match="not readable"):
        _ = read_run(run.path).summary


def test_whether_another_process_is_at_work(tmp_path: Path) -> None:
    run = create_run(tmp_path, name="a", digest="1" * 8, data="d")
    assert not run.alive  # it is this very process
    assert replace(run, process=f"{socket.gethostname()}:{os.getppid()}").alive
    assert not replace(run, process=f"elsewhere:{os.getppid()}").alive
    assert not replace(run, status="finished", process=f"{socket.gethostname()}:{os.getppid()}").alive
