"""The run folder: `runs/<recipe>/<timestamp>-<hash>/`, its status, and finding runs again."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from adaptkit.atomic import unwritable, write_json
from adaptkit.errors import RunError

RunStatus = Literal["running", "interrupted", "finished", "failed", "diverged", "unreadable"]
STATUS_FILE = "status.json"


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One run folder at a glance.

    Attributes:
        path: the folder.
        name: the recipe's name.
        status: "running" also after a crash that nothing could record; see `alive`.
        digest: SHA-256 of the resolved recipe: equal digests mean equal recipes.
        data: hash of the data the run was started on.
        started: local time, ISO 8601.
        updated: when the status was written last.
        process: `host:pid` of the process that wrote it.
        message: why it failed or diverged.
    """

    path: Path
    name: str
    status: RunStatus
    digest: str = ""
    data: str = ""
    started: str = ""
    updated: str = ""
    process: str = ""
    message: str = ""

    @property
    def alive(self) -> bool:
        """Whether another process of this machine is at work on it."""
        host, _, pid = self.process.rpartition(":")
        if self.status != "running" or host != socket.gethostname() or int(pid) == os.getpid():
            return False
        return _process_exists(int(pid))

    @property
    def summary(self) -> dict[str, Any]:
        """Content of summary.json; empty while the run is not finished.

        Raises:
            RunError: the file is damaged.
        """
        path = self.path / "summary.json"
        if not path.exists():
            return {}
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise RunError(f"is not readable: {error}.", where=str(path)) from error

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "path": str(self.path)}


def create_run(runs: Path, *, name: str, digest: str, data: str, force: bool = False) -> RunInfo:
    """Make the folder of a new run and mark it running.

    Raises:
        RunError: the folder exists (without `force`) or cannot be written.
    """
    now = datetime.now()
    path = runs / name / f"{now:%Y%m%d-%H%M%S}-{digest[:8]}"
    if path.exists():
        if not force:
            raise RunError("the run folder exists already.", where=str(path), hint="Add --force to replace it.")
        shutil.rmtree(path)
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise unwritable(path, error) from error
    run = RunInfo(path, name, "running", digest, data, now.isoformat())
    return set_status(run, "running")


def set_status(run: RunInfo, status: RunStatus, message: str = "") -> RunInfo:
    """Record what became of the run."""
    changed = replace(
        run,
        status=status,
        updated=datetime.now().isoformat(),
        process=f"{socket.gethostname()}:{os.getpid()}",
        message=message,
    )
    content = {key: value for key, value in changed.as_dict().items() if key != "path"}
    write_json(run.path / STATUS_FILE, content)
    return changed


def read_run(path: Path) -> RunInfo:
    """The run in this folder.

    Raises:
        RunError: it is not a run folder.
    """
    if not (path / STATUS_FILE).is_file():
        what = "is not a run folder." if path.exists() else "does not exist."
        raise RunError(what, where=str(path), hint="`adaptkit runs` lists the runs there are.")
    try:
        content = json.loads((path / STATUS_FILE).read_text())
        return RunInfo(path=path, **content)
    except (ValueError, TypeError):
        return RunInfo(path, path.parent.name, "unreadable")


def list_runs(runs: Path) -> list[RunInfo]:
    """Every run under the folder, newest first; empty if there is none."""
    found = [read_run(path.parent) for path in _status_files(runs)]
    return sorted(found, key=lambda run: (run.started, str(run.path)), reverse=True)


def newest_finished(runs: Path) -> RunInfo:
    """The run that commands take when none is named.

    Raises:
        RunError: there is none.
    """
    for run in list_runs(runs):
        if run.status == "finished":
            return run
    raise RunError("there is no finished run here.", where=str(runs), hint="Train one: adaptkit train quickstart")


def _status_files(runs: Path) -> Iterator[Path]:
    # One level for the recipe, one for the run; an artifact or checkpoint inside is never mistaken for a run.
    return (path for path in runs.glob(f"*/*/{STATUS_FILE}") if path.is_file())


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
