"""The towers of a recipe beside its backbone: where their adapters can go, what of them moves, and who runs first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from adaptkit.adapters.base import Shape
from adaptkit.anatomy import Anatomy, ModelRef, study
from adaptkit.errors import RecipeError, SiteError
from adaptkit.modalities.encoder import Encoder
from adaptkit.modalities.tower import Tower
from adaptkit.plan.grafting import PlanContext, with_prompts
from adaptkit.plan.parameters import unfrozen_parameters
from adaptkit.plan.streams import image_lengths
from adaptkit.recipe import Recipe
from adaptkit.surgery.graft import BACKBONE, FUSION, Graft


@dataclass(frozen=True, slots=True)
class TowerPlan:
    """One tower of a plan.

    Attributes:
        ref: its checkpoint.
        parameters: how many it has.
        unfrozen: names of those that move.
        trainable: how many move.
    """

    ref: ModelRef
    parameters: int
    unfrozen: tuple[str, ...]
    trainable: int

    def as_dict(self) -> dict[str, Any]:
        """Its part of the stable JSON form of `adaptkit plan --json`."""
        return {"model": self.ref.id, "parameters": self.parameters, "unfrozen": list(self.unfrozen)}


def towers_of(encoders: Mapping[str, Encoder]) -> dict[str, Tower]:
    """Modality -> the model that its encoder runs."""
    found = {name: getattr(encoder, "tower", None) for name, encoder in encoders.items()}
    return {name: tower for name, tower in found.items() if isinstance(tower, Tower)}


def bare_tower(recipe: Recipe, name: str) -> Tower:
    """The tower of a modality on the meta device, without weights and without adapters.

    Raises:
        RecipeError: an unknown model, or one that does not read this kind.
    """
    modality: Any = recipe.modality[name]
    with torch.device("meta"):
        reads, width = modality.model_input, getattr(modality, "width", 1)
        return Tower.of(modality.tower, f"modality.{name}.tower", recipe.base, reads, width)


def plan_towers(recipe: Recipe, towers: Mapping[str, Tower]) -> dict[str, TowerPlan]:
    """What of every tower moves.

    Raises:
        SiteError: a selection that matches no parameter.
    """
    plans: dict[str, TowerPlan] = {}
    for name, tower in towers.items():
        modality: Any = recipe.modality[name]
        key = f"modality.{name}.tower.train"
        unfrozen = unfrozen_parameters(tower.model, modality.tower.train, key=key, where=recipe.where(key))
        sizes = {name: parameter.numel() for name, parameter in tower.model.named_parameters()}
        moving = sum(sizes[name] for name in unfrozen)
        plans[name] = TowerPlan(tower.ref, sum(sizes.values()), unfrozen, moving)
    return plans


def tower_contexts(
    recipe: Recipe, encoders: Mapping[str, Encoder], backbone: Anatomy, sides: Mapping[str, Shape]
) -> dict[str, PlanContext]:
    """Modality -> where adapters can go in its tower; only of towers that an adapter names, or may have meant.

    Raises:
        RecipeError: a modality with a tower is called like a part of the backbone.
    """
    contexts: dict[str, PlanContext] = {}
    towers, taken = towers_of(encoders), beginnings(backbone)
    named = named_models(recipe)
    for name, tower in towers.items():
        refuse_ambiguous(recipe, name, taken)
        if name not in named and named <= taken | towers.keys():
            continue
        found = study(tower.model, name=tower.ref.name)
        anatomy = replace(found, sites=tuple(replace(site, model=name) for site in found.sites))
        if tower.spec.image_size is not None:
            lengths: Mapping[str, int | None] = image_lengths(tower.model, anatomy, tower.spec)
        else:
            longest = tower.tokens if tower.kind == "audio" else encoders[name].limit
            lengths = {stack.name: longest for stack in anatomy.stacks}
        rows = getattr(encoders[name], "frames", 1)
        contexts[name] = PlanContext(tower.model, anatomy, sides, {}, lengths, tuple(recipe.task), name=name, rows=rows)
    return contexts


def named_models(recipe: Recipe) -> set[str]:
    """The first parts of all sites and sides of adapters: towers are among them."""
    words = [word for spec in recipe.adapter.values() for word in spec.at]
    words += [side.partition("@")[0] for spec in recipe.adapter.values() for side in spec.sides if "@" in side]
    return {word.partition(".")[0] for word in words if not word.startswith("path:")}


def beginnings(backbone: Anatomy) -> set[str]:
    """How the sites of the backbone begin."""
    words = {word.partition(".")[0] for site in backbone.sites for word in (site.name, site.full_name)}
    return words | {stack.name for stack in backbone.stacks} | {FUSION, BACKBONE}


def refuse_ambiguous(recipe: Recipe, name: str, taken: set[str]) -> None:
    """`poster.mlp.out` is a site of the tower of `poster`, so no site of the backbone may begin like that."""
    if name in taken:
        raise RecipeError(
            f"modality.{name} has a tower, and sites of the backbone begin with {name!r} too.",
            where=recipe.where(f"modality.{name}"),
            hint=f'Choose another name, for example "{name}_tower", and column = "{name}".',
        )


def check_prompts(recipe: Recipe, context: PlanContext, towers: Mapping[str, Tower]) -> None:
    """Raise SiteError where prompts make a tower's sequence longer than its position embeddings."""
    for name, tower in with_prompts(recipe, context).towers.items():
        limit, before = towers[name].spec.max_tokens, context.towers[name].lengths
        for stack, length in tower.lengths.items():
            if limit is not None and length is not None and length > limit:
                raise SiteError(
                    f"the tower of {name} has {limit} positions, and with its prompts {length} tokens would need one.",
                    where=recipe.where(f"modality.{name}"),
                    hint=f"Write max_tokens <= {limit - (length - (before[stack] or 0))} there.",
                )


def check_means(recipe: Recipe, grafts: Iterable[Graft], towers: Mapping[str, TowerPlan]) -> None:
    """Raise RecipeError where `missing = "mean"` would be a mean of vectors that training changes."""
    moving = {graft.model for graft in grafts} | {name for name, tower in towers.items() if tower.unfrozen}
    for name in towers:
        if recipe.modality[name].missing == "mean" and name in moving:
            raise RecipeError(
                f'modality.{name}.missing = "mean" is taken before training, and training changes the tower.',
                where=recipe.where(f"modality.{name}.missing"),
                hint='Write missing = "learned" or "zero".',
            )
