"""`adaptkit evaluate` and `adaptkit predict`: what a trained adapter knows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from adaptkit.cli.answer import Answer, note
from adaptkit.cli.options import RUNS, AnyPluginVersion, Force, Json, Plugins, RunArgument, RunsFolder
from adaptkit.cli.runs import chosen_run
from adaptkit.cli.tables import metric_table, robustness_table, several
from adaptkit.errors import UsageError

STANDARD = "-"  # standard input, or standard output

Drop = Annotated[
    str,
    typer.Option(
        "--drop", metavar="NAMES", help="Leave out these modalities, separated by commas.", show_default=False
    ),
]
Input = Annotated[
    str,
    typer.Option(
        "--input",
        metavar="FILE",
        help="Samples: .jsonl, .csv, .tsv or .parquet; - for lines of JSON from standard input.",
        show_default=False,
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "--output",
        metavar="FILE",
        help="Predictions: .jsonl, .csv, .tsv or .parquet; - for lines of JSON to standard output, which is the "
        "default for --input -.",
        show_default=False,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size", metavar="N", min=1, help="Samples per forward. Default: the recipe's.", show_default=False
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
    plugins: Plugins = None,
    any_plugin_version: AnyPluginVersion = False,
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
    source: Input = "",
    output: Output = "",
    drop: Drop = "",
    batch_size: BatchSize = None,
    folder: RunsFolder = RUNS,
    force: Force = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print texts while they are generated, one sample after another.")
    ] = False,
    plugins: Plugins = None,
    any_plugin_version: AnyPluginVersion = False,
    json: Json = False,
) -> Answer:
    """Predict for samples without targets.

    The input has the columns of the recipe's modalities; others are ignored. Paths in it start from its folder.
    """
    output = output or (STANDARD if source == STANDARD or stream else "")
    if stream and (json or output != STANDARD):
        raise UsageError(
            "--stream prints texts on standard output, so there is no other output.",
            where="adaptkit predict",
            hint="Leave --output and --json out, or --stream.",
        )
    for option, value in (("--input", source), ("--output", output)):
        if not value:
            raise UsageError(
                f"{option} FILE is missing.", where="adaptkit predict", hint='Try "adaptkit predict --help".'
            )
    if json and output == STANDARD:
        raise UsageError(
            "--json and the predictions cannot both have standard output.",
            where="adaptkit predict",
            hint="Add --output FILE, or leave --json out: each prediction is a JSON object.",
        )
    from adaptkit.evaluation import predict as predict_samples

    model = chosen_run(run, folder)
    options: dict[str, Any] = {"drop": _names(drop), "batch_size": batch_size, "force": force}
    options["input"] = sys.stdin.buffer if source == STANDARD else source
    if output == STANDARD:
        return Answer({}, lambda out: _stream(predict_samples, model, options, in_words=stream))
    count = predict_samples(model, output=output, **options)

    def show(out: Console) -> None:
        out.print(f"{several(count, 'prediction')} in {output}", soft_wrap=True)

    return Answer({"run": model, "output": output, "predictions": count}, show)


def _stream(predict_samples: Callable[..., int], model: Path, options: dict[str, Any], *, in_words: bool) -> None:
    """Predicts only when the command shows its answer: before that, standard output is not its own.

    Whatever a library prints goes to stderr still.
    """
    lines = sys.stdout

    def write(piece: str) -> None:
        lines.write(piece)
        lines.flush()

    where: dict[str, Any] = {"output": None, "write": write} if in_words else {"output": lines}
    with redirect_stdout(sys.stderr):
        note(several(predict_samples(model, **where, **options), "prediction"))


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
