"""In which order the models of a recipe run: one after another, or in step where they read each other's blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import NamedTuple

from adaptkit.anatomy import Anatomy, Site
from adaptkit.errors import SiteError
from adaptkit.recipe import Recipe
from adaptkit.surgery.graft import FUSION, Graft

Order = tuple[tuple[str, ...], ...]  # models that run in step, one such group after another; "" is the backbone
Reads = Mapping[str, set[str]]  # model -> those it reads

# What happens at a block, in this order: its adapters read and write, it returns, those at its block.out run.
INSIDE, RETURNS, BEHIND = range(3)


class Moment(NamedTuple):
    """A point of a model's forward: a block by its number among all of the model, and what happens there."""

    model: str
    block: int
    what: int


def order_of(recipe: Recipe, grafts: Iterable[Graft], anatomies: Mapping[str, Anatomy]) -> Order:
    """The groups in which the models run. Alone: a modality. Together: models that read each other's blocks.

    Whatever waits for the backbone runs in step with it.

    Args:
        recipe: with its modalities.
        grafts: all of them.
        anatomies: of the models that adapters go into or read.

    Raises:
        SiteError: models that wait for each other and cannot run in step.
    """
    inside = [graft for graft in grafts if graft.site.name != FUSION]
    vectors = reads_vectors(recipe, inside)
    blocks: dict[str, set[str]] = {name: set() for name in vectors}
    for graft in inside:
        blocks[graft.model] |= {site.model for site in graft.towers.values()} - {graft.model}
    order = grouped({name: vectors[name] | blocks[name] for name in vectors})
    for group in order:
        if len(group) > 1:
            check_vectors(recipe, group, vectors)
            check_moments(recipe, [graft for graft in inside if graft.model in group], group, anatomies)
        for name in group:
            if name in vectors[name]:
                raise circle(recipe, [name, name])
    return order


def reads_vectors(recipe: Recipe, grafts: Iterable[Graft]) -> dict[str, set[str]]:
    """Model -> the modalities whose finished vectors it needs: those its adapters read, and the backbone's prefix."""
    made = [name for name, modality in recipe.modality.items() if modality.route != "backbone"]
    read: dict[str, set[str]] = {name: set() for name in ("", *made)}
    read[""] = {name for name in made if recipe.modality[name].route == "tokens"}
    for graft in grafts:
        read[graft.model] |= graft.sides.keys() & set(made)
    return read


def grouped(reads: Reads) -> Order:
    """Groups of models that read each other, in an order in which each comes after what it reads."""
    reach: dict[str, set[str]] = {name: set(read) for name, read in reads.items()}
    for through in reads:
        for name in reads:
            if through in reach[name]:
                reach[name] |= reach[through]
    together = {
        name: tuple(other for other in reads if other == name or (other in reach[name] and name in reach[other]))
        for name in reads
    }
    after = {name for name in reads if name and "" in reach[name]}
    last = tuple(name for name in (*(n for n in reads if n), "") if name in after or name in together[""])
    together |= dict.fromkeys(last, last)
    groups = dict.fromkeys(together.values())
    between = {group: {together[other] for name in group for other in reads[name]} - {group} for group in groups}
    ordered = TopologicalSorter(between).static_order()
    return (*(group for group in ordered if group != last), last)


def check_vectors(recipe: Recipe, group: Sequence[str], vectors: Reads) -> None:
    """Raise SiteError where one model of a group needs the finished vectors of another."""
    for name in group:
        for other in sorted(vectors[name] & set(group)):
            if name and other != name and name not in vectors[other]:
                raise unfinished(recipe, name, other)
            raise circle(recipe, [name, other, name]) if name else unfinished(recipe, name, other)


def unfinished(recipe: Recipe, name: str, other: str) -> SiteError:
    tokens = not name and recipe.modality[other].route == "tokens"
    return SiteError(
        f"the tower of {other} reads blocks of {called(name)}, which needs its finished vectors"
        f"{' as input tokens' if tokens else ''}: they wait for each other.",
        where=recipe.where(f"modality.{other}" if tokens else "adapter"),
        hint=f'Read "{other}@block.out" instead, or insert at "fusion".' if not tokens else 'Write route = "side".',
    )


def circle(recipe: Recipe, names: Sequence[str]) -> SiteError:
    return SiteError(
        f"the towers wait for each other: {' -> '.join(called(name) for name in names)}.",
        where=recipe.where("adapter"),
        hint="Let one of them read the other's finished vectors, or both each other's blocks (\"NAME@block.out\").",
    )


def called(name: str) -> str:
    return name or "the backbone"


def check_moments(
    recipe: Recipe, grafts: Sequence[Graft], group: Sequence[str], anatomies: Mapping[str, Anatomy]
) -> None:
    """Raise SiteError where no order of the blocks of models in step lets every adapter read what it needs."""
    waits: dict[Moment, set[Moment]] = {}
    for name in group:
        count = sum(stack.depth for stack in anatomies[name].stacks) if name in anatomies else 0
        own = [Moment(name, block, what) for block in range(-1, count + 1) for what in (INSIDE, RETURNS, BEHIND)]
        waits |= {later: {earlier} for earlier, later in pairwise(own)}
    by: dict[Moment, str] = {}
    for graft in grafts:
        at = moment(graft.site, anatomies[graft.model])
        by.setdefault(at, graft.adapter)
        waits.setdefault(at, set()).update(
            moment(block, anatomies[block.model])._replace(what=RETURNS)
            for block in graft.towers.values()
            if block.model != graft.model
        )
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        reading = {by[each]: each for each in error.args[1] if each in by}
        names = " and ".join(f"{name} in {called(at.model)}" for name, at in reading.items())
        raise SiteError(
            f"{names} wait for each other: each reads a block that returns only behind it.",
            where=recipe.where(f"adapter.{next(iter(reading))}.at"),
            hint='Write at = "block.out": there each reads what the other block returned before its adapters.',
        ) from error


def moment(site: Site, anatomy: Anatomy) -> Moment:
    """When an adapter at a site runs, or what is read there is there."""
    before = 0
    for stack in anatomy.stacks:
        if stack.name == site.stack:
            if site.layer is None:
                ahead = site.name in ("embed.in", "embed.out")
                return Moment(site.model, (before or -1) if ahead else before + stack.depth, INSIDE)
            behind = site.when == "after" and site.path == stack.blocks[site.layer]
            return Moment(site.model, before + site.layer, BEHIND if behind else INSIDE)
        before += stack.depth
    return Moment(site.model, before, INSIDE)


def in_step(grafts: Iterable[Graft], order: Order) -> tuple[Graft, ...]:
    """The grafts, those marked that read a block of a model which runs in step with theirs."""
    group_of = {name: group for group in order for name in group}
    return tuple(
        replace(graft, in_step=True)
        if graft.site.name != FUSION
        and any(s.model != graft.model and s.model in group_of[graft.model] for s in graft.towers.values())
        else graft
        for graft in grafts
    )
