"""`adaptkit train`: trains a recipe and says where the result lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from adaptkit.cli.answer import Answer, note
from adaptkit.cli.options import RUNS, Json, Plugins, RunsFolder, Sets
from adaptkit.cli.runs import recipe_of_run
from adaptkit.cli.tables import metric_table
from adaptkit.cli.terminal import recipes
from adaptkit.errors import UsageError

if TYPE_CHECKING:
    from adaptkit.plan import Plan
    from adaptkit.training import RunResult


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="Recipe file, or the name of a bundled one. With --resume also a run folder.",
            show_default=False,
            autocompletion=recipes,
        ),
    ],
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            help="With --resume: the run to continue. Default: the newest of this recipe.",
            show_default=False,
        ),
    ] = None,
    sets: Sets = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was interrupted.")] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", min=0, max=2**32 - 1, help="Short for --set train.seeds=[N].", show_default=False
        ),
    ] = None,
    folder: RunsFolder = RUNS,
    force: Annotated[bool, typer.Option("--force", help="Replace a run folder that exists.")] = False,
    plugins: Plugins = None,
    json: Json = False,
) -> Answer:
    """Train a recipe; ends with its metrics and its artifact.

    Ctrl-C saves the state; --resume continues, and ends where an uninterrupted training would have.
    """
    from adaptkit.plan import make_plan
    from adaptkit.recipe import load_recipe
    from adaptkit.training import console_reporter
    from adaptkit.training import train as train_plan

    if run is not None and not resume:
        raise UsageError("one RECIPE at a time.", where=str(run), hint="Add --resume to continue this run.")
    changes = [*(sets or ()), *([] if seed is None else [f"train.seeds=[{seed}]"])]
    if resume and run is None and Path(recipe).is_dir():
        run = Path(recipe)
        plan = make_plan(recipe_of_run(run, changes))
    else:
        plan = make_plan(load_recipe(recipe, changes))
    _say_plan(plan)
    result = train_plan(plan, runs=folder, resume=run or resume, force=force, callbacks=[console_reporter()])
    return Answer(result.as_dict(), lambda out: show_result(out, result))


def _say_plan(plan: Plan) -> None:
    """Three lines on stderr: what will happen, before it takes minutes."""
    from adaptkit.cli.planning import graft_summary

    for line in graft_summary(plan.as_dict()):
        note(line)


def show_result(out: Console, result: RunResult) -> None:
    out.print(metric_table(result.metrics, result.ablations, result.std, result.ablations_std))
    for warning in result.warnings:
        out.print(f"note: {warning}", soft_wrap=True)
    out.print()
    size = sum(file.stat().st_size for file in result.artifact.iterdir() if file.is_file())
    out.print(f"artifact  {result.artifact}  ({size / 1e6:.2f} MB)", soft_wrap=True)
    out.print(f"run       {result.run}", soft_wrap=True)
    out.print("next:")
    for line, purpose in (
        ("adaptkit evaluate", "measure it again"),
        ("adaptkit export --adapter-only", "copy it elsewhere"),
        ("adaptkit predict --input FILE.jsonl --output FILE.jsonl", "answer new samples"),
    ):
        out.print(f"  {line:<54}  # {purpose}", soft_wrap=True)
