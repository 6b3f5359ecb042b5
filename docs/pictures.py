"""Draws the pictures of the README from what the commands print.

python docs/pictures.py                       docs/images/plan.svg
python docs/pictures.py runs/quickstart/RUN   docs/images/train.svg as well, replayed from this finished run
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

IMAGES = Path(__file__).resolve().parent / "images"


def main(arguments: list[str]) -> None:
    IMAGES.mkdir(exist_ok=True)
    draw_plan("quickstart", IMAGES / "plan.svg")
    for run in arguments:
        draw_training(Path(run), IMAGES / "train.svg")


def recorder(width: int = 88) -> Console:
    """A console like the commands' own, which keeps what is printed."""
    return Console(
        record=True,
        file=io.StringIO(),
        width=width,
        highlight=False,
        markup=False,
        emoji=False,
        color_system="standard",
    )


def draw_plan(recipe: str, path: Path) -> None:
    """What `adaptkit plan RECIPE` prints."""
    from adaptkit.cli.planning import planned, show_plan
    from adaptkit.recipe import load_recipe

    out = recorder()
    show_plan(out, planned(load_recipe(recipe)))
    out.save_svg(str(path), title=f"adaptkit plan {recipe}")


def draw_training(run: Path, path: Path) -> None:
    """What `adaptkit train` left on the terminal of this run; its progress bar is gone by then.

    Args:
        run: a finished run of one seed.
        path: the SVG file.
    """
    from adaptkit.cli.planning import graft_summary
    from adaptkit.cli.runs import recipe_of_run
    from adaptkit.cli.training import show_result
    from adaptkit.training.console import duration, evaluation_line, opening, validation_line

    summary, plan = (read_json(run / name) for name in ("summary.json", "plan.json"))
    out = recorder(width=120)
    for line in graft_summary(plan):
        out.print(line, style="dim")
    for line in opening(started(run, summary)):
        out.print(line)
    for event in validations(run, recipe_of_run(run).train.epochs, summary["monitor"]["metric"]):
        out.print(validation_line(event), style="bold green" if event.best else None)
    for event in evaluations(summary):
        out.print(evaluation_line(event))
    out.print(f"finished in {duration(summary['seconds'])}: {run}")
    show_result(out, result(run, summary))
    out.save_svg(str(path), title=f"adaptkit train {plan['recipe']}")


def started(run: Path, summary: dict[str, Any]) -> Any:
    from adaptkit.cli.runs import recipe_of_run
    from adaptkit.formats import load_data
    from adaptkit.training.callbacks import RunStarted

    recipe, counts = recipe_of_run(run), summary["parameters"]
    return RunStarted(
        run=run,
        name=recipe.name,
        seeds=tuple(recipe.train.seeds),
        epochs=recipe.train.epochs,
        steps=only_seed(summary)["steps"],
        trainable=counts["trainable"],
        total=counts["total"],
        device=read_json(run / "env.json")["device"],
        data=load_data(recipe).description,
    )


def validations(run: Path, epochs: int, monitor: str) -> list[Any]:
    """The validations of metrics.jsonl, in order."""
    from adaptkit.training.callbacks import Validated

    lines = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [
        Validated(line["seed"], line["epoch"], epochs, line, monitor, line["best"])
        for line in lines
        if line["kind"] == "validation"
    ]


def evaluations(summary: dict[str, Any]) -> list[Any]:
    """The final evaluation: every split, then every split with a modality left out."""
    from adaptkit.training.callbacks import Evaluated

    seed, monitor = summary["best_seed"], summary["monitor"]["metric"]
    whole = [Evaluated(seed, split, (), found, monitor) for split, found in summary["metrics"].items()]
    return whole + [
        Evaluated(seed, split, (dropped,), found, monitor)
        for dropped, splits in summary["ablations"].items()
        for split, found in splits.items()
    ]


def result(run: Path, summary: dict[str, Any]) -> Any:
    """summary.json as the training returned it."""
    from adaptkit.training import RunResult

    kept = {key: value for key, value in summary.items() if key != "status"}
    return RunResult(**{**kept, "run": run, "artifact": run / "artifact", "monitor": summary["monitor"]["metric"]})


def only_seed(summary: dict[str, Any]) -> dict[str, Any]:
    seeds = list(summary["per_seed"].values())
    if len(seeds) != 1:
        raise SystemExit("draw a run of one seed: several write more than a picture holds")
    return seeds[0]


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(sys.argv[1:])
