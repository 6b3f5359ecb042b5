"""`adaptkit inspect`: the anatomy of a backbone, from its configuration alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from adaptkit.cli.answer import Answer
from adaptkit.cli.folding import folded_path
from adaptkit.cli.options import Json
from adaptkit.cli.runs import recipe_of_run
from adaptkit.cli.tables import table
from adaptkit.cli.tree import anatomy_lines

if TYPE_CHECKING:
    from adaptkit.anatomy import Anatomy, ModelRef
    from adaptkit.anatomy.site import Site

FOUND_BY = {"table": "the table of families", "detected": "structural detection"}


def inspect(
    what: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A model, or a recipe, run or artifact with one.", show_default=False),
    ],
    json: Json = False,
) -> Answer:
    """Show the anatomy of a backbone: module tree, sites, widths.

    It needs the configuration only, and loads no weights.
    """
    from adaptkit.anatomy import skeleton, study, tree

    ref = _model_of(what)
    model = skeleton(ref)
    anatomy = study(model, name=ref.name)

    def show(out: Console) -> None:
        bare = [replace(site, stack="") for site in anatomy.sites]  # the tree says the stack itself
        _show_header(out, ref, anatomy)
        for line in anatomy_lines(tree(model, bare)):
            out.print(line, soft_wrap=True)
        out.print()
        out.print(table(_site_rows(anatomy), numbers=("width",)))
        for text in anatomy.notes:
            out.print(f"note: {text}")

    return Answer(_as_dict(ref, anatomy), show)


def _model_of(what: str) -> ModelRef:
    """The backbone of whatever was named: recipe, run folder, artifact folder, or a model itself."""
    from adaptkit.anatomy import resolve
    from adaptkit.recipe import bundled_names, load_recipe

    path = Path(what)
    if (path / "adapter.json").is_file():
        from adaptkit.artifact.format import read_description

        base = read_description(path).base
        return resolve(base.id, revision=base.revision, where=str(path / "adapter.json"))
    if (path / "resolved.toml").is_file():
        return _of_recipe(recipe_of_run(path))
    if path.suffix == ".toml" or what in bundled_names():
        return _of_recipe(load_recipe(what))
    return resolve(what, where="MODEL")


def _of_recipe(recipe: Any) -> ModelRef:
    from adaptkit.anatomy import resolve

    return resolve(
        recipe.backbone.model,
        base=recipe.base,
        revision=recipe.backbone.revision,
        where=recipe.where("backbone.model"),
    )


def _show_header(out: Console, ref: ModelRef, anatomy: Anatomy) -> None:
    stacks = ", ".join(f"{s.name + ' ' if s.name else ''}{s.depth} layers of width {s.width}" for s in anatomy.stacks)
    if ref.note:
        out.print(ref.note)
    for word, value in (
        ("model", ref.id),
        ("family", f"{anatomy.family} ({ref.library})"),
        ("sites", f"found by {FOUND_BY[anatomy.found_by]} ({_how_known(ref, anatomy)})"),
        ("layers", stacks or "no repeated blocks"),
        ("parameters", f"{anatomy.parameters:,}"),
    ):
        out.print(f"{word:<11} {value}", soft_wrap=True)
    out.print()


def _how_known(ref: ModelRef, anatomy: Anatomy) -> str:
    """The word of `adaptkit list models` for this architecture."""
    from adaptkit.anatomy.known import how_known

    name = ref.id.removeprefix("timm/").partition(".")[0] if ref.library == "timm" else anatomy.family
    return how_known(ref.library, name, named_sites=bool(anatomy.sites))


def _site_rows(anatomy: Anatomy) -> list[dict[str, Any]]:
    groups: dict[tuple, list[Site]] = {}
    for site in anatomy.sites:
        groups.setdefault((site.full_name, site.width, site.when), []).append(site)
    return [
        {"site": name, "path": folded_path([_path(site) for site in members]), "hook": when, "width": width}
        for (name, width, when), members in groups.items()
    ]


def _path(site: Site) -> str:
    if site.columns is None:
        return site.path
    return f"{site.path}[{site.columns[0]}:{site.columns[1]}]"


def _as_dict(ref: ModelRef, anatomy: Anatomy) -> dict[str, Any]:
    return {
        "model": ref.id,
        "name": ref.name,
        "note": ref.note,
        "library": ref.library,
        "family": anatomy.family,
        "found_by": anatomy.found_by,
        "sites_known": _how_known(ref, anatomy),
        "parameters": anatomy.parameters,
        "layers": sum(stack.depth for stack in anatomy.stacks),
        "stacks": [{"name": s.name, "layers": s.depth, "width": s.width} for s in anatomy.stacks],
        "sites": [_site_as_dict(site) for site in anatomy.sites],
        "notes": anatomy.notes,
    }


def _site_as_dict(site: Site) -> dict[str, Any]:
    return {
        "site": site.full_name,
        "layer": site.layer,
        "path": site.path,
        "width": site.width,
        "stack": site.stack,
        "when": site.when,
        "layout": site.layout,
        "columns": site.columns,
        "in_width": site.in_width,
    }
