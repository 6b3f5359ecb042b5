"""`adaptkit plan`: the surgery as a diff on the folded tree, counts and cost, and how it differs from another one."""

from __future__ import annotations

import json as json_text
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from adaptkit.amounts import in_bytes, scaled
from adaptkit.cli.answer import Answer
from adaptkit.cli.caching import show_kept
from adaptkit.cli.folding import GraftRow, folded_names, graft_rows, plan_lines, ranges
from adaptkit.cli.options import Json, Plugins, RecipeArgument, Sets, plugins_used
from adaptkit.cli.remembering import recipe_key, remembered, sources_of
from adaptkit.cli.tables import several, table
from adaptkit.errors import RunError

if TYPE_CHECKING:
    from adaptkit.anatomy import ModelRef
    from adaptkit.data import DataSet
    from adaptkit.plan import Plan
    from adaptkit.recipe import Recipe

STYLES = {"+": "green", "~": "yellow"}
MEMORY = ("weights", "gradients", "optimizer", "activations")
PARTS = ("backbone", "adapters", "encoders", "towers", "fusion", "heads")
IDENTITY = ("adapter", "kind", "site", "layer", "path", "parameters")


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
    plugins: Plugins = None,
    json: Json = False,
) -> Answer:
    """Show the surgery as a diff, with counts and costs.

    What is grafted where, what else of the backbone moves, and what a step takes in FLOPs and memory.
    It needs the configuration of the backbone only, and loads no weights.
    """
    from adaptkit.recipe import load_recipe

    found = planned(load_recipe(recipe, sets or ()))
    document = {**found["document"], "plugins": plugins_used()}
    if not against:
        return Answer(document, lambda out: show_plan(out, found))
    changes = compare(document, against)
    return Answer({**document, "against": changes}, lambda out: show_comparison(out, recipe, against, changes))


def planned(recipe: Recipe) -> dict[str, Any]:
    """What `plan` says of a recipe, as JSON; made once for a recipe, its models and what is installed.

    Returns:
        "document", the JSON for users without plugins, and "head": text and style of the lines above the table.
    """
    loaded: list[DataSet] = []

    def asked() -> tuple[dict[str, Any], list[ModelRef]]:
        from adaptkit.formats.load import load_data, without_labels

        if without_labels(recipe.task):
            loaded.append(load_data(recipe))
        return {**recipe_key(recipe), "data": [data.hash for data in loaded]}, sources_of(recipe)

    return remembered("plans", asked, lambda: view(recipe, *loaded))


def view(recipe: Recipe, loaded: DataSet | None = None) -> dict[str, Any]:
    """`planned`, made now."""
    from adaptkit.plan import make_plan

    made = make_plan(recipe, loaded=loaded)
    return {"document": plan_document(made), "head": list(head_lines(made))}


def plan_document(made: Plan) -> dict[str, Any]:
    """The JSON of a plan: grafts, unfrozen, parameters, flops, memory, and more."""
    from adaptkit.anatomy import skipped
    from adaptkit.model.costing import cost

    absent = {name for spec in made.recipe.adapter.values() for name in skipped(made.anatomy, spec.at)}
    cache = {"enabled": made.recipe.cache.enabled, "models": [each.as_dict() for each in made.frontiers.values()]}
    notes = {"notes": list(made.notes), "skipped": sorted(absent)}
    return {**made.as_dict(), **notes, "cache": cache, **cost(made).as_dict()}


def head_lines(plan: Plan) -> Iterator[tuple[str, str]]:
    """Text and style of what stands above the table of grafts: the models as trees, with what surgery changes."""
    from adaptkit.anatomy import skeleton
    from adaptkit.plan.towers import bare_tower

    yield f"{plan.recipe.name}: surgery on {plan.ref.id}", "bold"
    if plan.ref.note:
        yield plan.ref.note, ""
    yield "", ""
    yield from styled(plan_lines(plan.inside, plan.unfrozen, skeleton(plan.ref)))
    for graft in plan.at_fusion:
        line = f"+ {graft.adapter}: {graft.kind} at fusion, after the backbone  {graft.parameters:,}"
        yield line, STYLES["+"]
    if plan.joined:
        met = ", ".join(("the backbone", *plan.joined))
        yield f"  fusion: {plan.recipe.fusion.kind} of {met}  {plan.parameters.fusion:,}", ""
    for name, tower in plan.towers.items():  # each under the name of its modality
        yield "", ""
        yield f"tower of {name}: {tower.ref.id}", ""
        if tower.ref.note:
            yield tower.ref.note, ""
        model = bare_tower(plan.recipe, name).model
        yield from styled(plan_lines(plan.inside_tower(name), tower.unfrozen, model))


def styled(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Lines of a diff in the colours of what is new and of what moves."""
    return ((line, STYLES.get(line[0], "")) for line in lines)


def show_plan(out: Console, found: Mapping[str, Any]) -> None:
    """Everything `adaptkit plan` prints.

    Args:
        found: from `planned`.
    """
    document = found["document"]
    for line, style in found["head"]:
        out.print(line, style=style or None, soft_wrap=True)
    out.print()
    rows = graft_rows(document["grafts"])
    if rows:
        out.print(table([_readable(row) for row in rows], numbers=("each", "total")))
        out.print()
    show_counts(out, document)
    show_kept(out, document)
    for name in document["skipped"]:
        out.print(f"skipped     {name}: there is none in {document['backbone']}", soft_wrap=True)
    for note in document["notes"]:
        out.print(f"note        {note}", style="yellow", soft_wrap=True)


def show_counts(out: Console, document: Mapping[str, Any]) -> None:
    """Trainable and total parameters by part, what moves in the backbone, and what a step costs."""
    counts = document["parameters"]
    parts = ", ".join(f"{part} {counts[part]:,}" for part in PARTS if counts[part])
    out.print(
        f"trainable   {counts['trainable']:,} of {counts['total']:,} parameters ({counts['percent']:.2f} %)",
        soft_wrap=True,
    )
    out.print(f"in all      {parts}", soft_wrap=True)
    if document["pool"] is not None:
        out.print(f"pool        {document['pool']} of the last hidden states", soft_wrap=True)
    out.print(f"unfrozen    {unfrozen_line(document['unfrozen'])}", soft_wrap=True)
    for name, tower in document.get("towers", {}).items():
        if tower["unfrozen"]:
            out.print(f"            {unfrozen_line(tower['unfrozen'], f'the tower of {name}')}", soft_wrap=True)
    show_cost(out, document)


def show_cost(out: Console, document: Mapping[str, Any]) -> None:
    """FLOPs and memory of one training step."""
    flops, memory = document["flops"], document["memory"]
    tokens = "".join(f", {several(count, 'token')} of {name}" for name, count in document["tokens"].items())
    parts = ", ".join(f"{part} {in_bytes(memory[part])}" for part in MEMORY)
    only = f" of {', '.join(document['batch_tasks'])}" if len(document["batch_tasks"]) < len(document["labels"]) else ""
    out.print(f"a step of   {document['batch_size']} samples{only}{tokens}", soft_wrap=True)
    out.print(f"  compute   {operations(flops['step'])}, of which forward {operations(flops['forward'])}")
    out.print(f"  memory    {in_bytes(memory['total'])}")
    out.print(f"    {parts}", soft_wrap=True)


def operations(count: float) -> str:
    """`12.3 GFLOPs`."""
    return f"{scaled(count)}FLOPs"


def unfrozen_line(names: Iterable[str], model: str = "the backbone") -> str:
    """`nothing of the backbone`, or how many tensors of which kind."""
    found = list(names)
    if not found:
        return f"nothing of {model}"
    groups: dict[str, list[str]] = defaultdict(list)
    for name in found:
        groups[name.rpartition(".")[2]].append(name)
    kinds = ", ".join(f"{len(members)} x {leaf}" for leaf, members in groups.items())
    return f"{len(found)} tensors of {model} ({kinds})"


def graft_summary(document: Mapping[str, Any]) -> list[str]:
    """One line per kind of graft: `+ fuse: gmu at mlp.out, layers 0-5: 6 x 51,840`."""
    return [f"+ {row}" for row in graft_rows(document["grafts"])]


def _readable(row: GraftRow) -> dict[str, Any]:
    return {
        "adapter": row.adapter,
        "kind": row.kind,
        "site": row.site,
        "layers": ranges(row.layers) or "-",
        "width": "" if row.width is None else row.width,
        "each": f"{row.parameters:,}",
        "total": f"{row.total:,}",
    }


def compare(document: Mapping[str, Any], other: str) -> dict[str, Any]:
    """What changes from the other plan to this one.

    Args:
        document: JSON of this plan.
        other: a recipe, or a run folder with its plan.json.

    Returns:
        "removed" and "added" grafts, "frozen" and "unfrozen" parameters, "parameters" as name -> [from, to].
    """
    before = _document(other)
    return {
        "other": before.get("recipe", other),
        "removed": _without(before["grafts"], document["grafts"]),
        "added": _without(document["grafts"], before["grafts"]),
        "frozen": sorted(set(before["unfrozen"]) - set(document["unfrozen"])),
        "unfrozen": sorted(set(document["unfrozen"]) - set(before["unfrozen"])),
        "parameters": {
            name: [before["parameters"].get(name, 0), count] for name, count in document["parameters"].items()
        },
    }


def show_comparison(out: Console, recipe: str, other: str, changes: Mapping[str, Any]) -> None:
    """The changes as a diff: `-` is only in the other plan, `+` only in this one."""
    out.print(f"- {other}", style="red", soft_wrap=True)
    out.print(f"+ {recipe}", style="green", soft_wrap=True)
    out.print()
    for sign, style, key in (("-", "red", "removed"), ("+", "green", "added")):
        for row in graft_rows(changes[key]):
            out.print(f"{sign} {row} parameters", style=style, soft_wrap=True)
    for sign, style, key in (("-", "red", "frozen"), ("+", "green", "unfrozen")):
        for name in folded_names(changes[key]):
            out.print(f"{sign} trains {name}", style=style, soft_wrap=True)
    if not any(changes[key] for key in ("removed", "added", "frozen", "unfrozen")):
        out.print("the same grafts, and the same parameters train")
    out.print()
    out.print(table([_count(*item) for item in changes["parameters"].items()], numbers=("before", "after", "change")))


def _document(other: str) -> Mapping[str, Any]:
    path = Path(other)
    if path.is_dir():
        try:
            return json_text.loads((path / "plan.json").read_text(encoding="utf-8"))
        except OSError as error:
            raise RunError("has no readable plan.json.", where=other, hint="Give a recipe or a run folder.") from error
        except ValueError as error:
            raise RunError(f"is not valid JSON: {error}.", where=str(path / "plan.json")) from error
    from adaptkit.recipe import load_recipe

    return planned(load_recipe(other))["document"]


def _without(grafts: list[Mapping[str, Any]], others: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The grafts that have no equal among the others, each equal counted once."""
    identity = itemgetter(*IDENTITY)
    left, only = Counter(map(identity, others)), []
    for graft in grafts:
        if left[identity(graft)]:
            left[identity(graft)] -= 1
        else:
            only.append(graft)
    return only


def _count(name: str, values: list[float]) -> dict[str, str]:
    before, after = values
    if name == "percent":
        return {"parameters": name, "before": f"{before:.2f} %", "after": f"{after:.2f} %", "change": ""}
    change = f"{after - before:+,}" if after != before else ""
    return {"parameters": name, "before": f"{before:,}", "after": f"{after:,}", "change": change}
