"""Writes the measured table of the README from finished runs of the four quickstart recipes.

    python docs/measured.py [RUNS]     RUNS: folder that holds the runs (default: runs)

Takes the newest finished run of each recipe; stops if one is missing.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parent.parent / "README.md"
RECIPES = ("quickstart", "quickstart_wander", "quickstart_bottleneck", "quickstart_lora")
START, END = "<!-- measured:start -->", "<!-- measured:end -->"
HEADER = (
    "recipe",
    "grafts",
    "trainable parameters",
    "test accuracy, seen phrasings",
    "unseen phrasings",
    "image dropped",
    "training",
    "artifact",
)


def main(arguments: list[str]) -> None:
    runs = Path(arguments[0] if arguments else "runs")
    text = README.read_text(encoding="utf-8")
    README.write_text(filled(text, measured_table([newest(runs, name) for name in RECIPES])), encoding="utf-8")


def newest(runs: Path, recipe: str) -> Path:
    """The newest finished run of a recipe as it is bundled."""
    from adaptkit.recipe import digest, load_recipe
    from adaptkit.training.folder import list_runs

    wanted = digest(load_recipe(recipe))
    for run in list_runs(runs):
        if run.name == recipe and run.status == "finished" and run.digest == wanted:
            return run.path
    raise SystemExit(f"no finished run of the bundled recipe {recipe} in {runs}: adaptkit train {recipe}")


def measured_table(runs: list[Path]) -> str:
    """One row per run, and a line about the machine."""
    rows = [HEADER, ["---"] * len(HEADER), *(row(run) for run in runs)]
    machines = dict.fromkeys(machine(read_json(run / "env.json")) for run in runs)
    return "\n".join([*(f"| {' | '.join(cells)} |" for cells in rows), "", f"Measured with {'; '.join(machines)}."])


def row(run: Path) -> list[str]:
    summary, plan = read_json(run / "summary.json"), read_json(run / "plan.json")
    counts, metrics = summary["parameters"], summary["metrics"]
    grafts = Counter((graft["kind"], graft["site"]) for graft in plan["grafts"])
    size = sum(file.stat().st_size for file in (run / "artifact").iterdir())
    return [
        f"`{plan['recipe']}`",
        ", ".join(f"{count} x {kind} at `{site}`" for (kind, site), count in grafts.items()),
        f"{counts['trainable']:,} ({counts['percent']:.2f} %)",
        f"{metrics['test']['accuracy']:.3f}",
        f"{metrics['test_unseen']['accuracy']:.3f}",
        f"{summary['ablations']['image']['test']['accuracy']:.3f}",
        f"{summary['seconds']:.0f} s",
        f"{size / 1e6:.2f} MB",
    ]


def machine(env: dict[str, Any]) -> str:
    """`torch 2.11.0 on cpu, 2 threads`."""
    where = env["gpu"] or f"{env['device']}, {env['threads']} threads"
    return f"torch {env['packages']['torch']} on {where}"


def filled(text: str, table: str) -> str:
    """The text with the table between its two marks.

    Raises:
        SystemExit: the marks are not there.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise SystemExit(f"the README has no block {START} .. {END}")
    return f"{before}{START}\n{table}\n{END}{after}"


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(sys.argv[1:])
