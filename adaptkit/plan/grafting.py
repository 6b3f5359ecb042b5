"""From `[adapter.NAME]` tables to grafts: which sites, which shapes, how many parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from adaptkit.adapters.base import Shape
from adaptkit.anatomy import Anatomy, Site, select
from adaptkit.errors import SiteError, nearest
from adaptkit.plan.reading import blocks_to_read, place_to_read, side_shape, tower_block
from adaptkit.recipe import AdapterSpec, Recipe
from adaptkit.surgery import Graft, build_all, check_hosts, check_insertable, host_shape
from adaptkit.surgery.graft import BACKBONE, FUSION


@dataclass(frozen=True, slots=True)
class PlanContext:
    """Where adapters can be grafted.

    Attributes:
        model: the backbone or a tower, on any device.
        anatomy: its sites.
        sides: modality -> shape, what adapters may read.
        spans: modality -> shape of its part of the backbone's own sequence.
        lengths: stack -> longest stream, None where nothing bounds it; "fusion" after the backbone.
        tasks: of the recipe, in order.
        fusion: the site after the backbone, where there is one.
        name: of the modality whose tower this is; "" for the backbone.
        towers: the other models that adapters may go into or read, by the name of their modality.
        rows: of its streams per sample: the frames of a video are one after another.
    """

    model: nn.Module
    anatomy: Anatomy
    sides: Mapping[str, Shape] = field(default_factory=dict[str, Shape])
    spans: Mapping[str, Shape] = field(default_factory=dict[str, Shape])
    lengths: Mapping[str, int | None] = field(default_factory=dict[str, int | None])
    tasks: tuple[str, ...] = ()
    fusion: Site | None = None
    name: str = ""
    towers: Mapping[str, PlanContext] = field(default_factory=dict["str", "PlanContext"])
    rows: int = 1

    @property
    def lengths_of_samples(self) -> dict[str, int | None]:
        """Stack -> the longest stream, all rows of a sample one after another."""
        return {stack: None if length is None else self.rows * length for stack, length in self.lengths.items()}


def plan_grafts(recipe: Recipe, context: PlanContext) -> tuple[Graft, ...]:
    """Every graft of the recipe, adapters in recipe order, sites in order of execution.

    Raises:
        SiteError: a site that does not exist, a width that cannot work, a count that differs from `expect`, or what
            surgery would refuse: two adapters of one name at one module, members that are not there.
    """
    grafts: list[Graft] = []
    context = with_prompts(recipe, context)
    for name, spec in recipe.adapter.items():
        places = {key: recipe.where(f"adapter.{name}{key and '.'}{key}") for key in ("", "at", "layers", "expect")}
        grafts += plan_adapter(name, spec, context, places)
    models = {"": context.model} | {name: tower.model for name, tower in context.towers.items()}
    named = {**models, BACKBONE: context.model}
    inside = [graft for graft in grafts if graft.site.name != FUSION]
    for model, module in models.items():
        check_insertable(module, [graft for graft in inside if graft.model == model], named)
    after = nn.ModuleDict({FUSION: nn.Identity()})
    check_insertable(after, [graft for graft in grafts if graft.site.name == FUSION], named)
    return tuple(grafts)


def with_prompts(recipe: Recipe, context: PlanContext) -> PlanContext:
    """The longest stream of every stack of every model, with the tokens that prompts put into it."""
    lengths = {"": dict(context.lengths)} | {name: dict(tower.lengths) for name, tower in context.towers.items()}
    for name, spec in recipe.adapter.items():
        if spec.facts["works_on"] == "sequence":
            where = {"at": recipe.where(f"adapter.{name}.at")}
            for site in sites_of(name, *home(name, spec, context, where), where):
                known = lengths[site.model].get(site.stack)
                lengths[site.model][site.stack] = None if known is None else known + spec.options["length"]
    towers = {name: replace(tower, lengths=lengths[name]) for name, tower in context.towers.items()}
    return replace(context, lengths=lengths[""], towers=towers)


def plan_adapter(
    name: str, spec: AdapterSpec, context: PlanContext, places: Mapping[str, str] | None = None
) -> tuple[Graft, ...]:
    """The grafts of one adapter table.

    Args:
        name: of the table.
        spec: the table.
        context: the backbone and what it is given.
        places: key -> its place in the recipe ("" for the table), for errors.

    Raises:
        SiteError: as `plan_grafts`.
    """
    where = places or {}
    spec, context = home(name, spec, context, where)
    sites = sites_of(name, spec, context, where)
    if spec.expect is not None and spec.expect != len(sites):
        raise SiteError(
            f"adapter.{name}.expect = {spec.expect}, but {len(sites)} grafts were found.",
            where=where.get("expect", ""),
            hint=f"Write expect = {len(sites)}, or change at and layers.",
        )
    try:
        return counted([graft_at(name, spec, site, context) for site in sites], context.model)
    except SiteError as error:
        first = error.problems[0]
        raise SiteError(first.message, where=first.where or where.get("", ""), hint=first.hint) from error


def home(
    name: str, spec: AdapterSpec, context: PlanContext, where: Mapping[str, str]
) -> tuple[AdapterSpec, PlanContext]:
    """The model that an adapter goes into, and its table with the sites as they are called within that model.

    Raises:
        SiteError: the sites of one table are in several models, or begin with what is none.
    """
    models = {word: model_of(word, context, where) for word in spec.at}
    first, *more = dict.fromkeys(models.values())
    if more:
        raise SiteError(
            f"adapter.{name}.at names sites of {' and '.join(other or 'the backbone' for other in (first, *more))}.",
            where=where.get("at", ""),
            hint="Write one table for each model.",
        )
    if not first:
        return spec, context
    others = {BACKBONE: context} | {name: tower for name, tower in context.towers.items() if name != first}
    tower = replace(context.towers[first], towers=others)
    return spec.model_copy(update={"at": [word.removeprefix(f"{first}.") for word in spec.at]}), tower


def model_of(word: str, context: PlanContext, where: Mapping[str, str]) -> str:
    """The modality whose tower a site is in; "" for the backbone, which also tells what is wrong with the others."""
    head = word.partition(".")[0]
    if head in context.towers:
        return head
    known = {site.full_name for site in context.anatomy.sites} | {site.name for site in context.anatomy.sites}
    if not context.towers or word == FUSION or word.startswith("path:") or head in {k.partition(".")[0] for k in known}:
        return ""
    known |= {f"{tower}.{site.name}" for tower, other in context.towers.items() for site in other.anatomy.sites}
    raise SiteError(
        f"{word!r} is a site neither of {context.anatomy.model} nor of the tower of a modality.",
        where=where.get("at", ""),
        hint=nearest(word, known),
    )


def sites_of(name: str, spec: AdapterSpec, context: PlanContext, where: Mapping[str, str]) -> list[Site]:
    """The sites of an adapter within the model it goes into."""
    sites = [context.fusion] if FUSION in spec.at and context.fusion is not None else []
    inside = [word for word in spec.at if word != FUSION]
    if inside:
        at, layers = where.get("at", ""), where.get("layers", "")
        found = select(context.anatomy, inside, spec.layers, where=at, layers_where=layers)
        return [*(replace(site, model=context.name) for site in found), *sites]
    if spec.layers != "all":
        raise SiteError(
            f'adapter.{name}.layers has no meaning at "fusion", which comes after all layers.',
            where=where.get("layers", ""),
            hint="Leave layers out.",
        )
    return sites


def graft_at(name: str, spec: AdapterSpec, site: Site, context: PlanContext) -> Graft:
    anatomy = context.anatomy
    tokens = context.lengths.get(site.stack) if site.layout in ("btd", "tbd") else None
    host = Shape(site.width, tokens) if site.name == FUSION else host_shape(context.model, site, tokens)
    reads = place_to_read(name, spec.read, site, anatomy)
    if spec.facts["reads_blocks"]:
        reads = blocks_to_read(name, spec.layers, site, anatomy)
    elif reads:
        host = replace(host, read_width=reads[0].width)
    anatomies = {model: tower.anatomy for model, tower in context.towers.items()}
    towers = {side: tower_block(name, side, site, anatomy, anatomies) for side in spec.sides if "@" in side}
    lengths = {"": context.lengths, context.name: context.lengths}
    lengths |= {tower.name: tower.lengths_of_samples for tower in context.towers.values()}
    shapes = {side: side_shape(side, host, context.sides, context.spans, lengths, towers) for side in spec.sides}
    depth = next((stack.depth for stack in anatomy.stacks if stack.name == site.stack), 0)
    return Graft(
        adapter=name,
        kind=spec.kind,
        site=site,
        host=host,
        sides=shapes,
        options=spec.options,
        reads=reads,
        towers=towers,
        depth=depth,
        tasks=context.tasks,
        share=spec.share == "layers",
        per_task=spec.per_task,
        train=spec.train,
    )


def counted(grafts: Sequence[Graft], model: nn.Module) -> tuple[Graft, ...]:
    """The grafts with their numbers of parameters: built once on the meta device, which proves their shapes."""
    check_hosts(model, grafts)
    with torch.device("meta"):
        adapters = build_all(grafts)
    found: list[Graft] = []
    seen: set[int] = set()
    for graft, adapter in zip(grafts, adapters, strict=True):
        own = [parameter for parameter in adapter.parameters() if id(parameter) not in seen]
        seen |= {id(parameter) for parameter in own}
        trainable = sum(parameter.numel() for parameter in own if parameter.requires_grad)
        found.append(replace(graft, parameters=sum(p.numel() for p in own), trainable=trainable))
    return tuple(found)
