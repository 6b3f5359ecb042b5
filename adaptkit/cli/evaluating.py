"""`adaptkit evaluate` and `adaptkit predict`: what a trained adapter knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from adaptkit.cli.answer import Answer
from adaptkit.cli.metrics import metric_table, robustness_table
from adaptkit.cli.options import RUNS, Force, Json, RunArgument, RunsFolder
from adaptkit.cli.runs import chosen_run
from adaptkit.cli.tables import several
from adaptkit.errors import UsageError

Drop = Annotated[
    str,
    typer.Option(
        "--drop", metavar="NAMES", help="Leave out these modalities, separated by commas.", show_default=False
    ),
]


def evaluate(
    run: RunArgument = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            "--split",
            metavar="NAME",
            help="Only this split. Repeatable. Default: all but train.",
            show_default=False,
        ),
    ] = None,
    drop: Drop = "",
    robustness: Annotated[
        str,
        typer.Option(
            "--robustness",
            metavar="NAMES",
            help="Leave these modalities (or: all) out of a share of the samples, each alone and all together.",
            show_default=False,
        ),
    ] = "",
    rates: Annotated[
        str,
        typer.Option("--rates", metavar="NUMBERS", help="The shares. Default: 0,0.25,0.5,0.75,1.", show_default=False),
    ] = "",
    folder: RunsFolder = RUNS,
    json: Json = False,
) -> Answer:
    """Measure a run or an artifact, also with modalities left out."""
    if rates and not robustness:
        raise UsageError(
            "--rates belongs to --robustness.", where="adaptkit evaluate", hint="Add --robustness all, or the names."
        )
    shares: dict[str, Any] = {"rates": _numbers(rates)} if rates else {}
    from adaptkit.evaluation import evaluate as measure

    source = chosen_run(run, folder)
    found = measure(source, splits=split or None, drop=_names(drop), robustness=_names(robustness), **shares)

    def show(out: Console) -> None:
        out.print(str(source), soft_wrap=True)
        out.print(metric_table(found.metrics, found.ablations))
        if found.robustness:
            out.print(robustness_table(found.robustness, found.monitored))
        for warning in found.warnings:
            out.print(f"note: {warning}", soft_wrap=True)

    return Answer({"run": source, **found.as_dict()}, show)


def predict(
    run: RunArgument = None,
    source: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="Samples, one JSON object per line.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Predictions, as .jsonl or .parquet.", show_default=False),
    ] = None,
    drop: Drop = "",
    folder: RunsFolder = RUNS,
    force: Force = False,
    json: Json = False,
) -> Answer:
    """Predict for the samples of a .jsonl file.

    Each line is a JSON object whose keys are the columns of the recipe.
    """
    for option, value in (("--input", source), ("--output", output)):
        if value is None:
            raise UsageError(
                f"{option} FILE is missing.", where="adaptkit predict", hint='Try "adaptkit predict --help".'
            )
    assert source is not None
    assert output is not None
    from adaptkit.evaluation import predict as write_predictions

    model = chosen_run(run, folder)
    count = write_predictions(model, source, output, drop=_names(drop), force=force)

    def show(out: Console) -> None:
        out.print(f"{several(count, 'prediction')} in {output}", soft_wrap=True)

    return Answer({"run": model, "output": output, "predictions": count}, show)


def _names(text: str) -> tuple[str, ...]:
    """`image, audio` -> ("image", "audio")."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str) -> tuple[float, ...]:
    """`0, 0.5` -> (0.0, 0.5)."""
    try:
        return tuple(float(number) for number in _names(text))
    except ValueError as error:
        raise UsageError(
            f"{text!r} are no numbers.", where="--rates", hint="Write numbers from 0 to 1, as in --rates 0,0.5,1."
        ) from error
