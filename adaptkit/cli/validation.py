"""`adaptkit validate`: every check of a recipe that needs no weights, so that all its mistakes are told at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from adaptkit.cli.answer import Answer
from adaptkit.cli.options import Json, RecipeArgument, Sets
from adaptkit.cli.tables import several
from adaptkit.errors import AdaptkitError, Problem

if TYPE_CHECKING:
    from adaptkit.plan import Plan
    from adaptkit.recipe import Recipe


def validate(recipe: RecipeArgument, sets: Sets = None, json: Json = False) -> Answer:
    """Check a recipe and report every mistake at once.

    Checked are keys and types, the model and its sites, widths and counts, and the data files.
    """
    checked = validated(recipe, sets or ())

    def show(out: Console) -> None:
        width = max(map(len, checked))
        for what, found in checked.items():
            out.print(f"ok  {what:<{width}}  {found}", soft_wrap=True)

    return Answer({"recipe": recipe, "checked": checked}, show)


def validated(source: str, sets: Sequence[str]) -> dict[str, str]:
    """What was checked, with what was found there.

    Raises:
        AdaptkitError: of the first kind of mistake found, carrying the mistakes of every kind.
    """
    from adaptkit.plan import make_plan
    from adaptkit.recipe import load_recipe

    recipe = load_recipe(source, sets)  # nothing else can be checked in a recipe that cannot be read
    failures: list[AdaptkitError] = []
    checked = {"schema": _schema_line(recipe)}
    try:
        plan = make_plan(recipe)
        checked["sites"] = _sites_line(plan)
        checked.update(_beginning(plan))
    except AdaptkitError as error:
        failures.append(error)
    try:
        checked.update(_data_lines(recipe))
    except AdaptkitError as error:
        failures.append(error)
    if failures:
        raise _merged(failures)
    return checked


def _merged(failures: list[AdaptkitError]) -> AdaptkitError:
    """One error with all problems. It has the class, and so the exit code, of the first."""
    found: dict[Problem, None] = {problem: None for failure in failures for problem in failure.problems}
    return type(failures[0]).all(found)


def _schema_line(recipe: Recipe) -> str:
    tables = {"modality": recipe.modality, "adapter": recipe.adapter, "task": recipe.task}
    counts = ", ".join(f"{kind} {', '.join(names)}" for kind, names in tables.items() if names)
    return f"{recipe.name}: {counts}"


def _sites_line(plan: Plan) -> str:
    return f"{several(len(plan.grafts), 'graft')} in {plan.ref.id}, {plan.parameters.trainable:,} trainable parameters"


def _beginning(plan: Plan) -> dict[str, str]:
    """What the recipe and its adapters start from, read and checked."""
    from adaptkit.artifact.initial import sources

    found = sources(plan)
    artifacts = [found.recipe, *found.adapters.values()]
    folders = dict.fromkeys(str(artifact.folder) for artifact in artifacts if artifact is not None)
    return {"init_from": ", ".join(folders)} if folders else {}


def _data_lines(recipe: Recipe) -> dict[str, str]:
    from adaptkit.formats.load import load_data

    data = load_data(recipe)
    counts = ", ".join(f"{split} {len(samples):,}" for split, samples in data.splits.items())
    return {"data": f"{recipe.data.format}: {counts}"}
