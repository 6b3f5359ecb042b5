"""Two plans side by side: which grafts go, which come, and how the counts change."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from adaptkit.cli.folding import GraftRow, folded_names, graft_rows, ranges
from adaptkit.cli.tables import table
from adaptkit.errors import RunError

IDENTITY = ("adapter", "kind", "site", "layer", "path", "parameters")


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
            out.print(f"{sign} {_line(row)}", style=style, soft_wrap=True)
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
            return json.loads((path / "plan.json").read_text(encoding="utf-8"))
        except OSError as error:
            raise RunError("has no readable plan.json.", where=other, hint="Give a recipe or a run folder.") from error
        except ValueError as error:
            raise RunError(f"is not valid JSON: {error}.", where=str(path / "plan.json")) from error
    from adaptkit.plan import make_plan
    from adaptkit.recipe import load_recipe

    made = make_plan(load_recipe(other))
    return {"recipe": made.recipe.name, **made.as_dict()}


def _without(grafts: list[Mapping[str, Any]], others: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The grafts that have no equal among the others, each equal counted once."""
    left = Counter(_identity(graft) for graft in others)
    only = []
    for graft in grafts:
        if left[_identity(graft)]:
            left[_identity(graft)] -= 1
        else:
            only.append(graft)
    return only


def _identity(graft: Mapping[str, Any]) -> tuple:
    return tuple(graft[key] for key in IDENTITY)


def _line(row: GraftRow) -> str:
    layers = ranges(row.layers)
    where = f"{row.site}, layers {layers}" if layers else row.site
    return f"{row.adapter}: {row.kind} at {where}: {row.count} x {row.parameters:,} parameters"


def _count(name: str, values: list[float]) -> dict[str, str]:
    before, after = values
    if name == "percent":
        return {"parameters": name, "before": f"{before:.2f} %", "after": f"{after:.2f} %", "change": ""}
    change = f"{after - before:+,}" if after != before else ""
    return {"parameters": name, "before": f"{before:,}", "after": f"{after:,}", "change": change}
