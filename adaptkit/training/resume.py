"""Which run `--resume` continues, and why not."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from adaptkit.data import DataSet
from adaptkit.data.files import changed_files
from adaptkit.errors import RunError
from adaptkit.recipe import Recipe, digest, resolved_toml
from adaptkit.training.folder import FILES, RunInfo, held, list_runs, read_run
from adaptkit.training.log import flat


def run_to_resume(runs: Path, recipe: Recipe, data: str, *, named: Path | None = None) -> RunInfo:
    """The unfinished run of exactly this recipe and data.

    Args:
        runs: where runs are kept.
        recipe: what is to be trained now.
        data: hash of its data.
        named: a run folder, if the user named one; else the newest that fits.

    Raises:
        RunError: there is none, it is finished, or its recipe or data were others.
    """
    run = read_run(named) if named is not None else _newest(runs, recipe)
    check_resumable(run, recipe, data)
    return run


@contextmanager
def resumed(run: RunInfo, recipe: Recipe, data: DataSet) -> Iterator[None]:
    """Hold the run (`held`), which another process may have finished since it was chosen.

    Raises:
        RunError: see `run_to_resume`; a file that the data names has changed; or another process is at work on it.
    """
    with held(run):
        check_resumable(read_run(run.path), recipe, data.hash)
        check_files(run.path, recipe.base.resolve())
        yield


def check_files(run: Path, base: Path) -> None:
    """Raise RunError where a file that the data names is not what it was when the run was started."""
    if (run / FILES).exists():
        changed = list(islice(changed_files(run / FILES, base), 4))
        if changed:
            told = "; ".join(changed[:3]) + ("; and more" if len(changed) > 3 else "")
            raise RunError(
                f"the data has changed since the run was started: {told}.",
                where=str(run),
                hint="Put the files back, or train anew without --resume.",
            )


def check_resumable(run: RunInfo, recipe: Recipe, data: str) -> None:
    """Raise RunError where the run is finished or damaged, or its recipe or data were others."""
    if run.status == "finished":
        raise RunError("the run is finished; there is nothing to resume.", where=str(run.path))
    if run.status == "unreadable":
        raise RunError("the run's status.json is damaged.", where=str(run.path), hint="Train again without --resume.")
    if run.digest != digest(recipe):
        raise RunError(
            f"the run was started with another recipe: {told_difference(run.path, recipe)}.",
            where=str(run.path),
            hint="Undo the change, or train anew without --resume.",
        )
    if run.data != data:
        raise RunError(
            "the data has changed since the run was started.",
            where=str(run.path),
            hint="Train anew without --resume.",
        )


def _newest(runs: Path, recipe: Recipe) -> RunInfo:
    unfinished = [run for run in list_runs(runs) if run.name == recipe.name and run.status != "finished"]
    fitting = [run for run in unfinished if run.digest == digest(recipe) and not run.alive]
    if not unfinished:
        raise RunError(
            f"there is no unfinished run of {recipe.name!r} to resume.",
            where=str(runs / recipe.name),
            hint="Train it: leave out --resume.",
        )
    return (fitting or unfinished)[0]  # `run_to_resume` says what is wrong with one that does not fit


def told_difference(run: Path, recipe: Recipe) -> str:
    """`train.epochs was 3 and is 4; ...`, the first three."""
    try:
        then = flat(tomllib.loads((run / "resolved.toml").read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError):
        return "its resolved.toml is not readable"
    now = flat(tomllib.loads(resolved_toml(recipe)))
    keys = [key for key in {**then, **now} if then.get(key) != now.get(key)]
    told = [f"{key} was {_shown(then, key)} and is {_shown(now, key)}" for key in keys]
    return "; ".join(told[:3]) + (f"; and {len(told) - 3} more" if len(told) > 3 else "")


def _shown(table: Mapping[str, Any], key: str) -> str:
    return repr(table[key]) if key in table else "not there"
