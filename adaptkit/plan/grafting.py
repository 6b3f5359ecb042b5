"""From `[adapter.NAME]` tables to grafts: which sites, which shapes, how many parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from adaptkit.adapters.base import Shape
from adaptkit.anatomy import Anatomy, Site, select
from adaptkit.errors import SiteError
from adaptkit.recipe import AdapterSpec, Recipe
from adaptkit.surgery.graft import Graft

FUSION = "fusion"


def plan_grafts(
    recipe: Recipe,
    anatomy: Anatomy,
    sides: Mapping[str, Shape],
    lengths: Mapping[str, int | None],
    fusion: Site,
) -> tuple[Graft, ...]:
    """Every graft of the recipe, adapters in recipe order, sites in order of execution.

    Args:
        recipe: what to graft.
        anatomy: of the backbone.
        sides: modality -> shape, what adapters may read.
        lengths: stack -> longest stream, None where nothing bounds it.
        fusion: the site after the backbone.

    Raises:
        SiteError: a site that does not exist, a width that cannot work, a count that differs from `expect`.
    """
    grafts: list[Graft] = []
    for name, spec in recipe.adapter.items():
        mine = [
            counted(graft_at(name, spec, site, anatomy, sides, lengths), recipe)
            for site in sites_of(name, spec, recipe, anatomy, fusion)
        ]
        if spec.expect is not None and spec.expect != len(mine):
            raise SiteError(
                f"adapter.{name}.expect = {spec.expect}, but {len(mine)} grafts were found.",
                where=recipe.where(f"adapter.{name}.expect"),
                hint=f"Write expect = {len(mine)}, or change at and layers.",
            )
        grafts += mine
    return tuple(grafts)


def sites_of(name: str, spec: AdapterSpec, recipe: Recipe, anatomy: Anatomy, fusion: Site) -> list[Site]:
    where = recipe.where(f"adapter.{name}.at")
    sites = [fusion] if FUSION in spec.at else []
    inside = [word for word in spec.at if word != FUSION]
    if inside:
        layers_where = recipe.where(f"adapter.{name}.layers")
        sites = [*select(anatomy, inside, spec.layers, where=where, layers_where=layers_where), *sites]
    elif spec.layers != "all":
        raise SiteError(
            f'adapter.{name}.layers has no meaning at "fusion", which comes after all layers.',
            where=recipe.where(f"adapter.{name}.layers"),
            hint="Leave layers out.",
        )
    return sites


def graft_at(
    name: str,
    spec: AdapterSpec,
    site: Site,
    anatomy: Anatomy,
    sides: Mapping[str, Shape],
    lengths: Mapping[str, int | None],
) -> Graft:
    tokens = lengths.get(site.stack) if site.layout == "btd" else None
    host = Shape(site.width, tokens, site.in_width)
    chosen = {side: sides[side] for side in spec.sides}
    return Graft(name, spec.kind, site, host, chosen, spec.options, place_to_read(name, spec, site, anatomy))


def place_to_read(name: str, spec: AdapterSpec, site: Site, anatomy: Anatomy) -> Site | None:
    """For parallel adapters, the place of the same branch that is read."""
    if spec.read == "site":
        return None
    branch = site.name.rpartition(".")[0]
    for other in anatomy.sites:
        if (other.name, other.stack, other.layer) == (f"{branch}.{spec.read}", site.stack, site.layer):
            return other
    raise SiteError(f'{site.full_name} has no place "{spec.read}" to read.', hint='Write read = "site".')


def counted(graft: Graft, recipe: Recipe) -> Graft:
    """The graft with its number of parameters: built once on the meta device, which proves its shapes."""
    where = recipe.where(f"adapter.{graft.adapter}")
    try:
        with torch.device("meta"):
            adapter = graft.build()
        check_fits(graft, adapter.reads_input, adapter.keeps_length)
    except SiteError as error:
        first = error.problems[0]
        raise SiteError(
            f"adapter.{graft.adapter} at {graft.site.full_name}: {first.message}",
            where=where,
            hint=first.hint,
        ) from error
    return replace(graft, parameters=sum(p.numel() for p in adapter.parameters()))


def check_fits(graft: Graft, reads_input: bool, keeps_length: bool) -> None:
    if graft.read is not None and graft.read.width != graft.site.width:
        raise SiteError(
            f"it reads a stream of width {graft.read.width} and writes one of width {graft.site.width}.",
            hint="An adapter that reads elsewhere needs equal widths.",
        )
    if graft.read is not None and reads_input:
        raise SiteError("it reads its projection's input already.", hint='Write read = "site".')
    if not keeps_length and graft.site.name != FUSION:
        raise SiteError(
            "a new number of tokens can only be made after the backbone.",
            hint='Write out_tokens = "host", or at = "fusion".',
        )
