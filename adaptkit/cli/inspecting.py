"""`adaptkit inspect`: the anatomy of a backbone, from its configuration alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from adaptkit.cli.answer import Answer
from adaptkit.cli.folding import anatomy_lines, folded_path
from adaptkit.cli.options import AnyPluginVersion, Json, Plugins
from adaptkit.cli.remembering import recipe_key, remembered, sources_of
from adaptkit.cli.runs import recipe_of_run
from adaptkit.cli.tables import table

if TYPE_CHECKING:
    from adaptkit.anatomy import Anatomy, ModelRef
    from adaptkit.anatomy.site import Site
    from adaptkit.recipe import Recipe

FOUND_BY = {"table": "the table of families", "detected": "structural detection"}


def inspect(
    what: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A model, or a recipe, run or artifact with one.", show_default=False),
    ],
    plugins: Plugins = None,
    any_plugin_version: AnyPluginVersion = False,
    json: Json = False,
) -> Answer:
    """Show the anatomy of a backbone: module tree, sites, widths.

    Of a recipe also that of its towers. It needs the configuration only, and loads no weights.
    """
    ref, recipe = _model_of(what)

    def asked() -> tuple[dict[str, Any], list[ModelRef]]:
        return ({}, [ref]) if recipe is None else (recipe_key(recipe), sources_of(recipe))

    found = remembered("anatomies", asked, lambda: view(ref, recipe))

    def show(out: Console) -> None:
        for name, shown in found["shown"].items():
            if name:
                out.print()
                out.print(f"tower of {name}", style="bold")
            _show(out, shown)

    return Answer(found["document"], show)


def view(ref: ModelRef, recipe: Recipe | None) -> dict[str, Any]:
    """What is said of a model, and of the towers of a recipe: "document" for programs, "shown" for readers."""
    from adaptkit.anatomy import skeleton, study

    model = skeleton(ref)
    anatomy, towers = study(model, name=ref.name), _towers_of(recipe)
    document, shown = _as_dict(ref, anatomy), {"": _shown(ref, anatomy, model)}
    if towers:
        document["towers"] = {name: _as_dict(tower, found) for name, (tower, found, _) in towers.items()}
    return {"document": document, "shown": shown | {name: _shown(*tower) for name, tower in towers.items()}}


def _shown(ref: ModelRef, anatomy: Anatomy, model: Any) -> dict[str, Any]:
    from adaptkit.anatomy import tree

    bare = [replace(site, stack="", model="") for site in anatomy.sites]  # the tree says the stack itself
    return {
        "head": list(_header(ref, anatomy)),
        "tree": list(anatomy_lines(tree(model, bare))),
        "sites": _site_rows(anatomy),
        "notes": list(anatomy.notes),
    }


def _show(out: Console, shown: Mapping[str, Any]) -> None:
    for line in (*shown["head"], "", *shown["tree"], ""):
        out.print(line, soft_wrap=True)
    out.print(table(shown["sites"], numbers=("width",)))
    for text in shown["notes"]:
        out.print(f"note: {text}")


def _towers_of(recipe: Recipe | None) -> dict[str, tuple[ModelRef, Anatomy, Any]]:
    """Modality -> checkpoint, anatomy and skeleton of its tower; its sites bear the modality's name."""
    from adaptkit.anatomy import study
    from adaptkit.plan.towers import bare_tower

    found: dict[str, tuple[ModelRef, Anatomy, Any]] = {}
    if recipe is None:
        return found
    for name, modality in recipe.modality.items():
        if getattr(modality, "tower", None) is not None:
            tower = bare_tower(recipe, name)
            anatomy = study(tower.model, name=tower.ref.name)
            sites = tuple(replace(site, model=name) for site in anatomy.sites)
            found[name] = tower.ref, replace(anatomy, sites=sites), tower.model
    return found


def _model_of(what: str) -> tuple[ModelRef, Any]:
    """The backbone of whatever was named, and the recipe where there is one: recipe, run or artifact folder, model."""
    from adaptkit.anatomy import resolve
    from adaptkit.recipe import bundled_names, load_recipe

    path = Path(what)
    if (path / "adapter.json").is_file():
        from adaptkit.artifact.load import artifact_recipe
        from adaptkit.artifact.reading import read_artifact

        return _of_recipe(artifact_recipe(read_artifact(path)))
    if (path / "resolved.toml").is_file():
        return _of_recipe(recipe_of_run(path))
    if path.suffix == ".toml" or what in bundled_names():
        return _of_recipe(load_recipe(what))
    return resolve(what, where="MODEL"), None


def _of_recipe(recipe: Any) -> tuple[ModelRef, Any]:
    from adaptkit.anatomy import resolve

    backbone = recipe.backbone
    where = recipe.where("backbone.model")
    found = resolve(backbone.model, base=recipe.base, revision=backbone.revision, config=backbone.config, where=where)
    return found, recipe


def _header(ref: ModelRef, anatomy: Anatomy) -> Iterator[str]:
    stacks = ", ".join(
        f"{s.name + ' ' if s.name else ''}{s.depth} layers of width {s.width}{' (causal)' * s.causal}"
        for s in anatomy.stacks
    )
    if ref.note:
        yield ref.note
    for word, value in (
        ("model", ref.id),
        ("family", f"{anatomy.family} ({ref.library})"),
        ("sites", f"found by {FOUND_BY[anatomy.found_by]} ({_how_known(ref, anatomy)})"),
        ("layers", stacks or "no repeated blocks"),
        ("parameters", f"{anatomy.parameters:,}"),
    ):
        yield f"{word:<11} {value}"


def _how_known(ref: ModelRef, anatomy: Anatomy) -> str:
    """The word of `adaptkit list models` for this architecture."""
    from adaptkit.anatomy.tables.known import how_known

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
    if site.parameter:
        return f"{site.path}.{site.parameter}"
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
        "stacks": [{"name": s.name, "layers": s.depth, "width": s.width, "causal": s.causal} for s in anatomy.stacks],
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
        "parameter": site.parameter or None,
    }
