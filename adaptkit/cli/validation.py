"""`adaptkit validate`: every check of a recipe that needs no model, so that all its mistakes are told at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from adaptkit.cli.answer import Answer
from adaptkit.cli.options import Json, Plugins, RecipeArgument, Sets, plugins_used
from adaptkit.cli.remembering import models_of
from adaptkit.cli.tables import several
from adaptkit.errors import AdaptkitError, ArtifactError, Problem, SiteError, nearest

if TYPE_CHECKING:
    from adaptkit.recipe import Recipe

LEFT = "widths, layers and counts are proven by the plan"


def validate(
    recipe: RecipeArgument,
    sets: Sets = None,
    with_plan: Annotated[
        bool, typer.Option("--plan", help="Also plan the surgery: sites, widths, layers and counts in the model.")
    ] = False,
    plugins: Plugins = None,
    json: Json = False,
) -> Answer:
    """Check a recipe and report every mistake at once.

    Checked are keys and types, the names of models and the words of sites, what the recipe starts from, and the data
    files. Whether the model has these sites, widths and layers takes the plan: --plan, or adaptkit plan.
    """
    checked, notes = validated(recipe, sets or (), with_plan=with_plan)

    def show(out: Console) -> None:
        width = max(map(len, checked))
        for what, found in checked.items():
            out.print(f"ok  {what:<{width}}  {found}", soft_wrap=True)
        if not with_plan:
            out.print(f"--  {'plan':<{width}}  {LEFT}: adaptkit plan {recipe}", soft_wrap=True)
        for text in notes:
            out.print(f"note: {text}", soft_wrap=True)

    data = {"recipe": recipe, "checked": checked, "planned": with_plan, "notes": notes, "plugins": plugins_used()}
    return Answer(data, show)


def validated(source: str, sets: Sequence[str], *, with_plan: bool = False) -> tuple[dict[str, str], list[str]]:
    """What was checked, with what was found there; and what a training may still lack.

    Args:
        source: of the recipe.
        sets: changes of it.
        with_plan: whether the model is built, on the meta device, and the surgery planned.

    Raises:
        AdaptkitError: of the first kind of mistake found, carrying the mistakes of every kind.
    """
    from adaptkit.recipe import load_recipe

    recipe = load_recipe(source, sets)  # nothing else can be checked in a recipe that cannot be read
    checks: tuple[Callable[[Recipe], dict[str, str]], ...] = (_models, _sites, _beginning)
    failures: list[AdaptkitError] = []
    checked = {"schema": _schema_line(recipe)}
    for check in (*((_planned,) if with_plan else checks), _data_lines):
        try:
            checked |= check(recipe)
        except AdaptkitError as error:
            failures.append(error)
    if failures:
        raise _merged(failures)
    return checked, list(_absent_weights(recipe))


def _merged(failures: list[AdaptkitError]) -> AdaptkitError:
    """One error with all problems. It has the class, and so the exit code, of the first."""
    found: dict[Problem, None] = {problem: None for failure in failures for problem in failure.problems}
    return type(failures[0]).all(found)


def _schema_line(recipe: Recipe) -> str:
    tables = {"modality": recipe.modality, "adapter": recipe.adapter, "task": recipe.task}
    counts = ", ".join(f"{kind} {', '.join(names)}" for kind, names in tables.items() if names)
    return f"{recipe.name}: {counts}"


def _towers(recipe: Recipe) -> dict[str, Any]:
    """Modality -> its tower, of those that have one."""
    towers = ((name, getattr(modality, "tower", None)) for name, modality in recipe.modality.items())
    return {name: tower for name, tower in towers if tower is not None}


def _models(recipe: Recipe) -> dict[str, str]:
    """The names of the backbone and of the towers mean something; whether the hub has them is not asked."""
    found = (f"{ref.id} ({_sites_known(ref)})" for ref in models_of(recipe).values())
    return {"models": ", ".join(dict.fromkeys(found))}


def _absent_weights(recipe: Recipe) -> Iterator[str]:
    """What training has to download: a recipe may be right on a machine that cannot."""
    from adaptkit.anatomy.loading.weights import weights_here

    for id in dict.fromkeys(ref.id for ref in models_of(recipe).values() if not weights_here(ref)):
        yield f"the weights of {id} are not on this machine; train looks for them on the Hugging Face hub."


def _sites_known(ref: Any) -> str:
    """How the sites of its architecture are known, as `adaptkit list models` says; or that it is not in that list."""
    from adaptkit.anatomy.tables.known import known_architectures

    if ref.builder is not None:
        return "your own code, which runs whenever the model is built"

    if ref.alias is None and ref.settings is None and ref.library == "transformers":
        return "its architecture is read with the plan"
    known = known_architectures(ref.library)
    name = ref.alias.model_type if ref.alias else ref.id.removeprefix("timm/").partition(".")[0]
    if name in known:
        return f"sites: {known[name]}"
    close = nearest(name, known)
    return f"not in adaptkit list models{'. ' + close if close.startswith('Did') else ''}"


def _sites(recipe: Recipe) -> dict[str, str]:
    """Every word of `at` is one that some model answers to."""
    problems = list(_unknown_sites(recipe))
    if problems:
        raise SiteError.all(problems)
    words = dict.fromkeys(word for spec in recipe.adapter.values() for word in spec.at)
    return {"sites": f"{several(len(words), 'known word')}: {', '.join(words)}"} if words else {}


def _unknown_sites(recipe: Recipe) -> Iterator[Problem]:
    from adaptkit.anatomy.tables.sites import is_site, nearest_site

    towers = [*_towers(recipe)]
    for name, spec in recipe.adapter.items():
        for word in spec.at:
            if not is_site(word, towers):
                key = f"adapter.{name}.at"
                message = f"{key}: no model has a site {word!r}."
                yield Problem(message, recipe.where(key), nearest_site(word, towers))


def _beginning(recipe: Recipe) -> dict[str, str]:
    """The folders that the recipe and its adapters start from are there."""
    named = {"init_from": recipe.init_from}
    named |= {f"adapter.{name}.init_from": spec.init_from for name, spec in recipe.adapter.items()}
    folders = {key: recipe.path(text) for key, text in named.items() if text is not None}
    hint = "Train what it starts from first, or name another run, artifact or folder of runs."
    absent = [
        Problem(f"{key}: {folder} does not exist.", recipe.where(key), hint)
        for key, folder in folders.items()
        if not folder.exists()
    ]
    if absent:
        raise ArtifactError.all(absent)
    there = ", ".join(dict.fromkeys(map(str, folders.values())))
    return {"init_from": f"{there} (there; read with the plan)"} if folders else {}


def _planned(recipe: Recipe) -> dict[str, str]:
    """The whole plan, and what the recipe and its adapters start from, read and checked."""
    from adaptkit.artifact.initial import sources
    from adaptkit.plan import make_plan

    plan = make_plan(recipe)
    found = sources(plan)
    artifacts = [found.recipe, *found.adapters.values()]
    folders = dict.fromkeys(str(artifact.folder) for artifact in artifacts if artifact is not None)
    grafts, trainable = several(len(plan.grafts), "graft"), f"{plan.parameters.trainable:,} trainable parameters"
    lines = {"sites": f"{grafts} in {plan.ref.id}, {trainable}"}
    return lines | ({"init_from": ", ".join(folders)} if folders else {})


def _data_lines(recipe: Recipe) -> dict[str, str]:
    from adaptkit.formats.load import load_data

    data = load_data(recipe)
    counts = ", ".join(f"{split} {len(samples):,}" for split, samples in data.splits.items())
    return {"data": f"{recipe.data.format}: {counts}"}
