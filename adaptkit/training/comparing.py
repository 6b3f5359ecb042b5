"""Finished runs side by side: what they train, how good they are at each task, and how long a sample takes."""

from __future__ import annotations

import json
import statistics
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptkit.errors import RunError
from adaptkit.tasks.metric import all_metrics
from adaptkit.training.folder import list_runs, read_run

Numbers = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Compared:
    """One run.

    Attributes:
        run: its folder.
        name: of the recipe.
        percent: trainable parameters, of all.
        trainable: how many.
        scores: metric that a task monitors -> its value on the split; over several seeds, the mean.
        std: likewise, the standard deviation over the seeds; empty for one.
        average: of several tasks, the mean of their scores, each divided by its `monitor_scale` and turned so that
            more is better; None for one task, or where a score is undefined.
        seconds: that a sample took in training, the median over steps; None where it was not measured.
    """

    run: Path
    name: str
    percent: float
    trainable: int
    scores: Numbers
    std: Numbers = field(default_factory=dict[str, float | None])
    average: float | None = None
    seconds: float | None = None

    @property
    def score(self) -> float | None:
        """The average of several tasks, or the score of the one, turned so that more is better."""
        if len(self.scores) > 1:
            return self.average
        ((name, value),) = self.scores.items()
        return None if value is None else direction(name) * value


def found_runs(named: Sequence[Path], runs: Path) -> list[Path]:
    """The runs that are named, or lie in folders that are; of none the newest finished run of each recipe.

    Raises:
        RunError: there is none, or one is not finished.
    """
    if named:
        return [run for path in named for run in ([path] if (path / "status.json").is_file() else _within(path))]
    newest: dict[str, Path] = {}
    for run in list_runs(runs):
        if run.status == "finished":
            newest.setdefault(run.name, run.path)
    if not newest:
        raise RunError("there is no finished run here.", where=str(runs), hint="Train one: adaptkit train quickstart")
    return sorted(newest.values())


def _within(folder: Path) -> list[Path]:
    """The finished runs of a folder, in the order of their names: of several recipes, or of one."""
    finished = [run.path for run in (*list_runs(folder), *list_runs(folder.parent)) if run.status == "finished"]
    within = sorted({path for path in finished if path.is_relative_to(folder)})
    if not within:
        what = "has no finished run." if folder.is_dir() else "does not exist."
        raise RunError(what, where=str(folder), hint="`adaptkit runs` lists the runs there are.")
    return within


def compared(run: Path, split: str) -> Compared:
    """What a finished run gave on a split.

    Raises:
        RunError: it is not finished, its summary is damaged, or it has not measured this split.
    """
    info = read_run(run)
    if info.status != "finished":
        raise RunError(f"is not finished ({info.status}).", where=str(run), hint="Continue it: adaptkit train --resume")
    try:
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        metrics, counts, names = summary["metrics"], summary["parameters"], summary["monitor"]["metric"].split(" + ")
        if split in metrics:
            scores = {name: metrics[split][name] for name in names}
            spread = {name: value for name, value in summary["std"].get(split, {}).items() if name in scores}
            tasks = tomllib.loads((run / "resolved.toml").read_text(encoding="utf-8"))["task"].values()
            average = averaged(scores, [task.get("monitor_scale", 1.0) for task in tasks])
            seconds = summary.get("seconds_per_sample")
            return Compared(run, info.name, counts["percent"], counts["trainable"], scores, spread, average, seconds)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
        raise RunError(f"has a summary that cannot be read ({why}).", where=str(run / "summary.json")) from error
    raise RunError(f"has no split {split!r}.", where=str(run), hint=f"It has {', '.join(metrics)}.")


def averaged(scores: Numbers, scales: Sequence[float]) -> float | None:
    """The mean over tasks, as it chooses the best epoch; None of one task alone."""
    if len(scores) < 2 or len(scores) != len(scales) or None in scores.values():
        return None
    return statistics.fmean(
        direction(name) * (value or 0.0) / scale for (name, value), scale in zip(scores.items(), scales, strict=True)
    )


def direction(metric: str) -> int:
    """1 where more is better, -1 where less is; `metric` may have its task before it."""
    lower = {each.name for each in all_metrics() if each.higher_is_better is False}
    return -1 if metric in lower or metric.rpartition(".")[2] in lower else 1


def frontier(rows: Sequence[Compared]) -> Iterator[Compared]:
    """Those of which none other trains as little and is better, by their share of trainable parameters."""
    best: float | None = None
    for row in sorted(rows, key=lambda row: (row.percent, -(row.score or 0.0))):
        if row.score is not None and (best is None or row.score > best):
            best = row.score
            yield row


def as_dict(row: Compared) -> dict[str, Any]:
    """One entry of `adaptkit compare --json`."""
    return {
        "run": row.run,
        "name": row.name,
        "percent": row.percent,
        "trainable": row.trainable,
        "scores": dict(row.scores),
        "std": dict(row.std),
        "average": row.average,
        "seconds_per_sample": row.seconds,
    }
