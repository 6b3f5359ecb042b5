from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from adaptkit.errors import RunError
from adaptkit.training.folder import (
    create_run,
    held,
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


HOLDING = """
import os, sys, time
from pathlib import Path
from adaptkit.training.folder import held, read_run, set_status
run = read_run(Path(sys.argv[1]))
with held(run):
    set_status(run, "running")
    if len(sys.argv) > 2 and os.fork():  # a worker, which outlives its parent
        time.sleep(600)
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def holder(run: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(run), *more], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """Also where the folder says otherwise: a process id may be anybody's by now."""
    run = create_run(tmp_path, name="a", digest="1" * 8, data="d")
    assert not run.alive
    with holder(run.path) as other:
        assert read_run(run.path).alive
        told = re.escape(f"still going on, in process {socket.gethostname()}:{other.pid}.")
        with pytest.raises(RunError, match=told), held(run):
            pass
    assert not read_run(run.path).alive
    with held(run):
        assert read_run(run.path).alive
        with pytest.raises(RunError, match="still going on"), held(run):
            pass
    assert not replace(run, process=f"{socket.gethostname()}:{os.getppid()}").alive


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_the_workers_of_a_killed_process_do_not_hold_its_run(tmp_path: Path) -> None:
    run = create_run(tmp_path, name="a", digest="1" * 8, data="d")
    with holder(run.path, "fork") as other:
        other.kill()
        other.wait()
        with held(run):
            pass


def test_a_run_begins_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create_run(
        tmp_path, name="a", digest="1" * 8, data="d", fill=lambda folder: (folder / "plan.json").write_text("{}")
    )
    assert {path.name for path in run.path.iterdir()} == {"status.json", "plan.json"}
    half = run.path.with_name(".20240506-070809-01234567.abc.tmp")
    half.mkdir()
    (half / "status.json").write_text("{}")
    assert len(list_runs(tmp_path)) == 1
    create_run(tmp_path, name="a", digest="2" * 8, data="d")
    assert not half.exists()


@pytest.mark.parametrize("change", [{"status": "sinished"}, {"process": 3}, {"more": ""}])
def test_a_status_that_is_none_is_damage(tmp_path: Path, change: dict[str, object]) -> None:
    run = create_run(tmp_path, name="a", digest="1" * 8, data="d")
    status = json.loads((run.path / "status.json").read_text())
    (run.path / "status.json").write_text(json.dumps(status | change))
    assert read_run(run.path).status == "unreadable"
