"""`adaptkit runs`, and the run that other commands take when none is named."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from adaptkit.cli.answer import Answer, note
from adaptkit.cli.options import RUNS, Json, RunsFolder
from adaptkit.cli.tables import aligned
from adaptkit.errors import RunError

if TYPE_CHECKING:
    from adaptkit.recipe import Recipe
    from adaptkit.training.folder import RunInfo


def runs(folder: RunsFolder = RUNS, json: Json = False) -> Answer:
    """List the runs, newest first, with status and metric."""
    from adaptkit.training.folder import list_runs

    rows = [_row(run) for run in list_runs(folder)]

    def show(out: Console) -> None:
        if not rows:
            out.print(f"no runs in {folder} yet; train one: adaptkit train quickstart", soft_wrap=True)
            return
        for line in aligned([_readable(row) for row in rows]):
            out.print(line, soft_wrap=True)

    return Answer({"folder": folder, "runs": rows}, show)


def chosen_run(run: Path | None, folder: Path) -> Path:
    """The run a command works on: the one named, or the newest finished one, which is then said on stderr.

    Raises:
        RunError: none is named and none is finished.
    """
    if run is not None:
        return run
    from adaptkit.training.folder import newest_finished

    newest = newest_finished(folder).path
    note(f"no RUN given: taking the newest finished one, {newest}")
    return newest


def recipe_of_run(run: Path, sets: Sequence[str] = ()) -> Recipe:
    """The recipe a run was started with, `--set` included, its paths resolved as they were then.

    Raises:
        RunError: it is not a run folder.
        RecipeError: what the run keeps is not a recipe any more.
    """
    from adaptkit.recipe import load_recipe

    resolved = run / "resolved.toml"
    if not resolved.is_file():
        raise RunError("is not a run folder: it has no resolved.toml.", where=str(run))
    try:
        recorded = json_text.loads((run / "env.json").read_text(encoding="utf-8")).get("recipe_folder")
    except (OSError, ValueError):
        recorded = None  # only relative paths of the recipe need it
    return load_recipe(resolved, sets, base=Path(recorded) if recorded else None, plugins=False)


def _row(run: RunInfo) -> dict[str, Any]:
    try:
        monitor = run.summary.get("monitor")
    except RunError:  # one damaged summary must not hide the other runs
        monitor = None
    return {
        "name": run.name,
        "started": run.started,
        "status": run.status,
        "alive": run.alive,
        "monitor": monitor,
        "message": run.message,
        "run": run.path,
    }


def _readable(row: dict[str, Any]) -> dict[str, str]:
    return {
        "started": row["started"][:16].replace("T", " "),
        "status": "killed" if row["status"] == "running" and not row["alive"] else row["status"],
        "metric": _metric(row["monitor"]),
        "run": str(row["run"]),
    }


def _metric(monitor: Any) -> str:
    if not isinstance(monitor, dict):
        return ""
    value = monitor["value"]
    return f"{monitor['metric']} {'-' if value is None else f'{value:.4f}'}"
