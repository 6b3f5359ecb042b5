"""The frozen prefix: how far into each model nothing depends on what training changes.

Below the frontier a model gives the same for the same sample in every epoch. A model that nothing is grafted into, and
nothing of which moves, does not have to run at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adaptkit.anatomy import Anatomy, InputSpec, Site
from adaptkit.fusions.base import Fusion
from adaptkit.modalities.encoder import Encoder
from adaptkit.plan.grafting import PlanContext
from adaptkit.plan.order import Order
from adaptkit.plan.towers import TowerPlan
from adaptkit.recipe import Recipe
from adaptkit.surgery.graft import BACKBONE, FUSION, Graft

LEAST = 0.25  # share of the blocks below which keeping what they give costs more than it saves


@dataclass(frozen=True, slots=True)
class Frontier:
    """How far into a model nothing changes.

    Attributes:
        model: modality of a tower, "" for the backbone.
        whole: it does not have to run at all.
        modalities: those that it reads.
        stack: whose mask goes with the stream of its blocks.
        blocks: paths of all blocks, in order of execution.
        first: the first block that has to run.
        kept: the blocks before it whose outputs are needed: the last one, and those that adapters read.
        pooled: of all that a whole backbone gives only the vector that heads read is needed.
        why: what keeps the frontier where it is; "" where the model is whole.
    """

    model: str
    whole: bool = False
    modalities: tuple[str, ...] = ()
    stack: str = ""
    blocks: tuple[str, ...] = ()
    first: int = 0
    kept: tuple[int, ...] = ()
    pooled: bool = False
    why: str = ""

    @property
    def saves(self) -> bool:
        """Something need not run."""
        return self.whole or self.first > 0

    @property
    def spares_input(self) -> bool:
        """Nothing of the values themselves is read."""
        return self.whole

    def as_dict(self) -> dict[str, Any]:
        """Its part of the JSON of `adaptkit plan`."""
        skipped = {"whole": self.whole, "blocks": len(self.blocks), "skipped": self.first}
        return {"model": self.model or BACKBONE, **skipped, "why": self.why, "says": str(self)}

    def __str__(self) -> str:
        name = f"the tower of {self.model}" if self.model else "the backbone"
        if self.whole:
            return f"{name} runs once per sample"
        if self.first:
            return f"{name} runs from block {self.first} of {len(self.blocks)} on: {self.why}"
        return f"{name} runs in every step: {self.why}"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What of a plan decides about frontiers.

    Attributes:
        recipe: the recipe.
        grafts: all of them.
        order: in which the models run.
        encoders: modality -> encoder, on the meta device.
        anatomies: model -> its stacks, of those that were studied.
        unfrozen: model -> names of its parameters that move.
        spec: what the backbone reads.
        one_vector: nothing behind the backbone reads its sequence.
    """

    recipe: Recipe
    grafts: Sequence[Graft]
    order: Order
    encoders: Mapping[str, Encoder]
    anatomies: Mapping[str, Anatomy]
    unfrozen: Mapping[str, Collection[str]]
    spec: InputSpec
    one_vector: bool


def frontiers_of(
    recipe: Recipe,
    spec: InputSpec,
    context: PlanContext,
    encoders: Mapping[str, Encoder],
    grafts: Sequence[Graft],
    order: Order,
    towers: Mapping[str, TowerPlan],
    unfrozen: Collection[str],
    fusion: Fusion,
) -> dict[str, Frontier]:
    """Model -> its frontier: those of the towers in recipe order, then that of the backbone.

    Args:
        recipe: the recipe.
        spec: what the backbone reads.
        context: the models as places of adapters.
        encoders: modality -> encoder, on the meta device.
        grafts: all of them.
        order: in which the models run.
        towers: what of every tower moves.
        unfrozen: names of the backbone's parameters that move.
        fusion: what comes after the backbone.
    """
    anatomies = {name: tower.anatomy for name, tower in context.towers.items()} | {"": context.anatomy}
    moving = {name: tower.unfrozen for name, tower in towers.items()} | {"": unfrozen}
    one_vector = not fusion.sequences and all(graft.site.name != FUSION for graft in grafts)
    given = Surroundings(recipe, grafts, order, encoders, anatomies, moving, spec, one_vector)
    return {name: frontier_of(given, name) for name in (*towers, "")}


def frontier_of(given: Surroundings, model: str) -> Frontier:
    modalities = (model,) if model else tuple(n for n, m in given.recipe.modality.items() if m.route == "backbone")
    found = Frontier(model, modalities=modalities)
    why = changes_input(given, model, modalities)
    if why:
        return replace(found, why=why)
    inside = [graft for graft in given.grafts if graft.model == model and graft.site.name != FUSION]
    read = [site for graft in given.grafts for site in graft.towers.values() if site.model == model]
    speaks = not model and any(task.generates for task in given.recipe.task.values())
    if not inside and not given.unfrozen[model] and not read and not speaks:
        return replace(found, whole=True, pooled=not model and given.one_vector)
    if model not in given.anatomies:
        return replace(found, why="the recipe trains a part of it")
    if speaks and given.spec.form != "encoder_decoder":
        return replace(found, why="what it answers is part of what it reads")
    return of_blocks(found, given, inside, read)


def changes_input(given: Surroundings, model: str, modalities: Collection[str]) -> str:
    """What makes a model give something else for the same sample from its first layer on; "" for nothing."""
    together = next((group for group in given.order if model in group and len(group) > 1), ())
    if together:
        others = " and ".join(name or "the backbone" for name in together if name != model)
        return f"it runs in step with {others}"
    modality: Any = given.recipe.modality.get(model)
    if (modality.tower if model else given.recipe.backbone).dropout == "keep":
        return 'its dropout is kept (dropout = "keep")'
    if not model and (names := [n for n, m in given.recipe.modality.items() if m.route == "tokens"]):
        return f"{' and '.join(names)} enters its input through what is trained"
    for name in modalities:
        encoder = given.encoders[name]
        if encoder.draws:
            return f"{name} is drawn anew in every epoch"
        if encoder.reads_task:
            return f"{name} is read in another way for every task"
    tower = given.encoders[model].tower if model else None
    if tower is not None and tower.project is not None:
        return f"{model} enters it through a projection that is trained"
    if tower is not None and tower.sees_padding:
        return "what it gives for a sound depends on the padding of the batch"
    return ""


def of_blocks(found: Frontier, given: Surroundings, inside: Iterable[Graft], read: Iterable[Site]) -> Frontier:
    """The frontier within a model that trains, or is read, in a part of its blocks."""
    anatomy = given.anatomies[found.model]
    stacks = anatomy.stacks
    if not found.model and given.spec.form == "encoder_decoder":
        stacks = tuple(stack for stack in stacks if stack.name == "encoder")
    blocks = tuple(block for stack in stacks for block in stack.blocks)
    if not blocks or len(set(blocks)) < len(blocks):
        return replace(found, why="its layers share one module")
    if not found.model and given.spec.form == "two_towers":
        return replace(found, why="it is two models, of which one trains")
    if any(site.layout == "tbd" for site in anatomy.sites):
        return replace(found, why="its stream has the tokens first")
    if found.model and given.encoders[found.model].frames_apart:
        return replace(found, why="its blocks see the frames one by one")
    limits, kept = Limits(anatomy, blocks), set[int]()
    for graft in inside:
        limits.graft(graft)
        kept |= limits.reads(graft.reads)
    kept |= limits.reads(read)
    for name in given.unfrozen[found.model]:
        limits.parameter(name)
    if limits.first < max(1, LEAST * len(blocks)):
        return replace(found, blocks=blocks, why=limits.why)
    below = {index for index in kept if index < limits.first} | {limits.first - 1}
    return replace(
        found, stack=stacks[0].name, blocks=blocks, first=limits.first, kept=tuple(sorted(below)), why=limits.why
    )


class Limits:
    """The first block that has to run, by all that trains or is read inside the blocks."""

    def __init__(self, anatomy: Anatomy, blocks: Sequence[str]) -> None:
        self.blocks, self.first, self.why = blocks, len(blocks), "adapters read its blocks"
        after = [site.path for site in anatomy.sites if site.name == "final.out"]
        ends = [b.rpartition(".")[0] for s in anatomy.stacks for b in s.blocks if b not in blocks]  # of a decoder
        self.after = tuple(f"{path}." for path in {*after, *ends, "pooler"} if path)

    def at(self, index: int, why: str) -> None:
        if index < self.first:
            self.first, self.why = index, why

    def graft(self, graft: Graft) -> None:
        """The block that an adapter is in has to run; one behind a block lets it be."""
        site, index = graft.site, self.index(graft.site.path)
        told = f"{graft.adapter} sits at {site.full_name}"
        if graft.options.get("positions") == "after":
            self.at(0, f"{graft.adapter} moves the positions of all layers")
        elif index is None and site.name != "final.out" and not f"{site.path}.".startswith(self.after):
            self.at(0, told)
        elif index is not None:
            behind = site.when == "after" and site.path == self.blocks[index]
            self.at(index + behind, f"{told} of layer {site.layer}")

    def reads(self, places: Iterable[Site]) -> set[int]:
        """The blocks whose outputs are needed for these places."""
        found = set[int]()
        for place in places:
            index = self.index(place.path)
            if index is None:
                continue
            if place.path != self.blocks[index]:
                self.at(index, f"an adapter reads {place.full_name} of layer {place.layer}")
            else:
                found.add(index if place.when == "after" else index - 1)
        return found - {-1}

    def parameter(self, name: str) -> None:
        index = self.index(name)
        if index is not None or not name.startswith(self.after):
            self.at(index or 0, f"{name} trains")

    def index(self, path: str) -> int | None:
        """The block that a module or a parameter is in."""
        inside = (number for number, block in enumerate(self.blocks) if f"{path}.".startswith(f"{block}."))
        return next(inside, None)
