"""`adaptkit validate` and `adaptkit plan`: everything that can be known before a weight is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from adaptkit.cli.answer import Answer
from adaptkit.cli.options import Json, RecipeArgument, Sets

if TYPE_CHECKING:
    from adaptkit.plan import Plan


def validate(recipe: RecipeArgument, sets: Sets = None, json: Json = False) -> Answer:
    """Check a recipe and report every mistake at once.

    Checked are keys and types, the model and its sites, widths and counts, and the data files.
    """
    from adaptkit.cli.validation import validated

    checked = validated(recipe, sets or ())

    def show(out: Console) -> None:
        width = max(map(len, checked))
        for what, found in checked.items():
            out.print(f"ok  {what:<{width}}  {found}", soft_wrap=True)

    return Answer({"recipe": recipe, "checked": checked}, show)


def plan(
    recipe: RecipeArgument,
    sets: Sets = None,
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="OTHER",
            help="Show the differences to another recipe or run.",
            show_default=False,
        ),
    ] = "",
    json: Json = False,
) -> Answer:
    """Show the surgery as a diff, with counts and costs.

    What is grafted where, what else of the backbone moves, and what a step takes in FLOPs and memory.
    It needs the configuration of the backbone only, and loads no weights.
    """
    from adaptkit.cli.comparison import compare, show_comparison
    from adaptkit.cli.surgery_view import show_plan
    from adaptkit.plan import make_plan
    from adaptkit.recipe import load_recipe

    made = make_plan(load_recipe(recipe, sets or ()))
    document = plan_document(made)
    if not against:
        return Answer(document, lambda out: show_plan(out, made, document))
    changes = compare(document, against)
    return Answer({**document, "against": changes}, lambda out: show_comparison(out, recipe, against, changes))


def plan_document(made: Plan) -> dict[str, Any]:
    """The JSON of a plan: grafts, unfrozen, parameters, flops, memory, and more."""
    from adaptkit.anatomy import skipped
    from adaptkit.model.costing import cost

    absent = {name for spec in made.recipe.adapter.values() for name in skipped(made.anatomy, spec.at)}
    return {**made.as_dict(), "skipped": sorted(absent), **cost(made).as_dict()}
