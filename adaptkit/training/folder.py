"""The run folder: `runs/<recipe>/<timestamp>-<hash>/`, its status, and finding runs again."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock, Timeout

from adaptkit.atomic import new_folder, sweep, unwritable, write_json
from adaptkit.errors import RunError

RunStatus = Literal["running", "interrupted", "finished", "failed", "diverged", "unreadable"]
STATUS_FILE, LOCK, FILES = "status.json", ".lock", "files.parquet"
PATIENCE = 2.0  # seconds to wait for a lock: a process may just be dying, or be asking who has it


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
        """Whether a process is at work on it, here or, where the file system passes locks on, elsewhere."""
        if self.status != "running" or not (self.path / LOCK).exists():
            return False
        try:
            with FileLock(self.path / LOCK, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # not ours to lock
            return False

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


def create_run(
    runs: Path,
    *,
    name: str,
    digest: str,
    data: str,
    fill: Callable[[Path], object] = lambda folder: None,
    force: bool = False,
) -> RunInfo:
    """Make the folder of a new run, marked running, with its first files; all of them or none.

    Args:
        runs: where runs are kept.
        name: of the recipe.
        digest: of the recipe.
        data: hash of the data.
        fill: writes the first files into the folder.
        force: replace a folder of the same name.

    Raises:
        RunError: the folder exists (without `force`) or cannot be written.
    """
    now = datetime.now()
    path = runs / name / f"{now:%Y%m%d-%H%M%S}-{digest[:8]}"
    if path.exists() and not force:
        raise RunError("the run folder exists already.", where=str(path), hint="Add --force to replace it.")
    sweep(path.parent)
    run = RunInfo(path, name, "running", digest, data, now.isoformat())
    with new_folder(path, replace=force) as temporary:
        fill(temporary)
        set_status(replace(run, path=temporary), "running")
    return run


@contextmanager
def held(run: RunInfo) -> Iterator[None]:
    """Keep every other process off the run.

    The lock is the operating system's: it ends with the process, however that ends, and knows no process ids.

    Raises:
        RunError: another process has it, or the folder cannot be written.
    """
    lock = FileLock(run.path / LOCK)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        holder = read_run(run.path).process
        raise RunError(f"the run is still going on, in process {holder}.", where=str(run.path)) from None
    except OSError as error:
        raise unwritable(run.path, error) from error
    try:
        yield
    finally:
        lock.release()


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
        run = RunInfo(path=path, **json.loads((path / STATUS_FILE).read_text(encoding="utf-8")))
        if run.status in get_args(RunStatus) and all(isinstance(value, str) for value in run.as_dict().values()):
            return run
    except (OSError, ValueError, TypeError, RecursionError):
        pass
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
    # What begins with a dot is a folder that a crash left half made.
    return (path for path in runs.glob(f"*/[!.]*/{STATUS_FILE}") if path.is_file())
