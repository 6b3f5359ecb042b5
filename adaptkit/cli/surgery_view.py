"""A plan for a reader: the surgery as a diff on the folded tree, a table of grafts, counts and cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from adaptkit.cli.folding import GraftRow, graft_rows, ranges
from adaptkit.cli.tables import several, table
from adaptkit.cli.tree import plan_lines

if TYPE_CHECKING:
    from adaptkit.plan import Plan

STYLES = {"+": "green", "~": "yellow"}
MEMORY = ("weights", "gradients", "optimizer", "activations")
PARTS = ("backbone", "adapters", "encoders", "towers", "fusion", "heads")


def show_plan(out: Console, plan: Plan, document: Mapping[str, Any]) -> None:
    """Everything `adaptkit plan` prints.

    Args:
        document: the plan's JSON with its cost.
    """
    from adaptkit.anatomy import skeleton

    model = skeleton(plan.ref)
    out.print(f"{plan.recipe.name}: surgery on {plan.ref.id}", style="bold", soft_wrap=True)
    if plan.ref.note:
        out.print(plan.ref.note, soft_wrap=True)
    out.print()
    for line in plan_lines(plan.inside, plan.unfrozen, model):
        out.print(line, style=STYLES.get(line[0]), soft_wrap=True)
    for graft in plan.at_fusion:
        line = f"+ {graft.adapter}: {graft.kind} at fusion, after the backbone  {graft.parameters:,}"
        out.print(line, style=STYLES["+"], soft_wrap=True)
    if plan.joined:
        met = ", ".join(("the backbone", *plan.joined))
        line = f"  fusion: {plan.recipe.fusion.kind} of {met}  {plan.parameters.fusion:,}"
        out.print(line, soft_wrap=True)
    show_towers(out, plan)
    out.print()
    rows = graft_rows(document["grafts"])
    if rows:
        out.print(table([_readable(row) for row in rows], numbers=("each", "total")))
        out.print()
    show_counts(out, document)
    for name in document["skipped"]:
        out.print(f"skipped     {name}: there is none in {plan.ref.id}", soft_wrap=True)


def show_towers(out: Console, plan: Plan) -> None:
    """The models beside the backbone, each under the name of its modality."""
    from adaptkit.plan.towers import bare_tower

    for name, tower in plan.towers.items():
        out.print()
        out.print(f"tower of {name}: {tower.ref.id}", soft_wrap=True)
        if tower.ref.note:
            out.print(tower.ref.note, soft_wrap=True)
        for line in plan_lines(plan.inside_tower(name), tower.unfrozen, bare_tower(plan.recipe, name).model):
            out.print(line, style=STYLES.get(line[0]), soft_wrap=True)


def show_counts(out: Console, document: Mapping[str, Any]) -> None:
    """Trainable and total parameters by part, what moves in the backbone, and what a step costs."""
    counts = document["parameters"]
    parts = ", ".join(f"{part} {counts[part]:,}" for part in PARTS if counts[part])
    out.print(
        f"trainable   {counts['trainable']:,} of {counts['total']:,} parameters ({counts['percent']:.2f} %)",
        soft_wrap=True,
    )
    out.print(f"in all      {parts}", soft_wrap=True)
    out.print(f"unfrozen    {unfrozen_line(document['unfrozen'])}", soft_wrap=True)
    for name, tower in document.get("towers", {}).items():
        if tower["unfrozen"]:
            out.print(f"            {unfrozen_line(tower['unfrozen'], f'the tower of {name}')}", soft_wrap=True)
    show_cost(out, document)


def show_cost(out: Console, document: Mapping[str, Any]) -> None:
    """FLOPs and memory of one training step."""
    flops, memory = document["flops"], document["memory"]
    tokens = "".join(f", {several(count, 'token')} of {name}" for name, count in document["tokens"].items())
    parts = ", ".join(f"{part} {size(memory[part])}" for part in MEMORY)
    out.print(f"a step of   {document['batch_size']} samples{tokens}", soft_wrap=True)
    out.print(f"  compute   {operations(flops['step'])}, of which forward {operations(flops['forward'])}")
    out.print(f"  memory    {size(memory['total'])}")
    out.print(f"    {parts}", soft_wrap=True)


def operations(count: float) -> str:
    """`12.3 GFLOPs`."""
    return f"{_scaled(count)}FLOPs"


def size(count: float) -> str:
    """`312 MB`."""
    return f"{_scaled(count)}B"


def _scaled(count: float) -> str:
    for prefix in ("", "k", "M", "G", "T", "P"):
        if count < 1000 or prefix == "P":
            break
        count /= 1000
    return f"{count:.3g} {prefix}"


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
    """One line per kind of graft: `+ gmu fuse at mlp.out, layers 0-5: 6 x 51,840 parameters`."""
    return [
        f"+ {row.adapter}: {row.kind} at {row.site}{_of_layers(row)}: {row.count} x {row.parameters:,}"
        for row in graft_rows(document["grafts"])
    ]


def _of_layers(row: GraftRow) -> str:
    layers = ranges(row.layers)
    return f", layers {layers}" if layers else ""


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
