"""`adaptkit compare`: runs side by side, as a table and as a drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from adaptkit.cli.answer import Answer
from adaptkit.cli.options import RUNS, Force, Json, RunsFolder
from adaptkit.cli.tables import number, table
from adaptkit.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    from adaptkit.training.comparing import Compared

FORMATS = (".svg", ".png", ".pdf")


def compare(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN...",
            help="Run folders, or folders of runs. Default: the newest finished run of each recipe.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="Split whose scores are compared.")] = "test",
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Draw the scores over the share of trainable parameters: .svg, .png or .pdf.",
            show_default=False,
        ),
    ] = None,
    folder: RunsFolder = RUNS,
    force: Force = False,
    json: Json = False,
) -> Answer:
    """Compare runs: trainable parameters, the score of each task, their average, seconds per sample."""
    from adaptkit.training.comparing import as_dict, compared, found_runs

    if plot is not None:
        _refuse_plot(plot, force)
    rows = [compared(run, split) for run in found_runs(runs or [], folder)]
    if plot is not None:
        draw(rows, plot, split)

    def show(out: Console) -> None:
        metrics = list(dict.fromkeys(metric for row in rows for metric in row.scores))
        several = any(row.average is not None for row in rows)
        written = [_written(row, metrics, several=several) for row in rows]
        out.print(table(written, numbers=[column for column in written[0] if column != "run"]))
        if plot is not None:
            out.print(f"drawn: {plot}", soft_wrap=True)

    return Answer({"split": split, "runs": [as_dict(row) for row in rows], "plot": plot}, show)


def _written(row: Compared, metrics: Sequence[str], *, several: bool) -> Mapping[str, str]:
    cells = {"run": f"{row.name} {row.run.name}", "trainable": f"{row.trainable:,}", "%": f"{row.percent:.2f}"}
    for metric in metrics:
        cells[metric] = number(row.scores[metric], row.std.get(metric)) if metric in row.scores else ""
    if several:
        cells["average"] = "-" if row.average is None else f"{row.average:.4f}"
    return {**cells, "s per sample": "-" if row.seconds is None else f"{row.seconds:.2g}"}


def _refuse_plot(file: Path, force: bool) -> None:
    """Before anything is read: the drawing can be written."""
    if file.suffix not in FORMATS:
        raise UsageError(f"{file} is no drawing.", where="--plot", hint=f"Write a name with {' or '.join(FORMATS)}.")
    if file.exists() and not force:
        raise UsageError("exists already.", where=str(file), hint="Add --force to replace it.")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"the folder {file.parent} does not exist.", where="--plot")


def draw(rows: Sequence[Compared], file: Path, split: str) -> None:
    """Score over the share of trainable parameters, a point for each run, and a line along the best of each size."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UnavailableError(
            "drawing needs matplotlib.", where="--plot", hint='pip install "adaptkit[plot]"'
        ) from None
    from adaptkit.training.comparing import frontier

    shown = [row for row in rows if row.score is not None]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    best = list(frontier(shown))
    axes.plot([row.percent for row in best], [row.score or 0.0 for row in best], color="0.75", zorder=1)
    for row in shown:
        axes.scatter([row.percent], [row.score or 0.0], zorder=2)
        axes.annotate(row.name, (row.percent, row.score or 0.0), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("trainable parameters, % of all")
    metrics = dict.fromkeys(metric for row in rows for metric in row.scores)
    axes.set_ylabel(f"{split}: {'average of ' if len(metrics) > 1 else ''}{', '.join(metrics)}")
    figure.savefig(file)
