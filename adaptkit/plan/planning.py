"""From a recipe to the immutable list of what surgery will do, with exact counts, before a weight is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from adaptkit.anatomy import Anatomy, InputSpec, ModelRef, Site, input_spec, resolve, skeleton, study
from adaptkit.data import DataSet
from adaptkit.errors import RecipeError
from adaptkit.formats.load import load_data, without_labels
from adaptkit.modalities.encoder import Encoder
from adaptkit.plan.answers import check_generates, check_order
from adaptkit.plan.frontier import Frontier, frontiers_of
from adaptkit.plan.grafting import FUSION, PlanContext, plan_grafts
from adaptkit.plan.large import large_parts
from adaptkit.plan.mmbt import build_segments, check_mmbt
from adaptkit.plan.order import Order, in_step, order_of
from adaptkit.plan.parameters import Counts, own_size, size, unfrozen_parameters
from adaptkit.plan.readout import build_fusion, build_heads, check_pool, joined_modalities, output_width, pool_of
from adaptkit.plan.sizes import check_sizes, new_parts
from adaptkit.plan.streams import build_encoders, build_projections, side_shapes, span_shapes, stream_lengths
from adaptkit.plan.towers import (
    TowerPlan,
    check_means,
    check_prompts,
    plan_towers,
    tower_contexts,
    towers_of,
)
from adaptkit.recipe import Recipe, located
from adaptkit.surgery.graft import Graft
from adaptkit.surgery.hooks import Adapters
from adaptkit.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe resolves to.

    Attributes:
        recipe: what was asked for.
        ref: the backbone's checkpoint.
        anatomy: its stacks and sites.
        spec: what it reads.
        grafts: every adapter instance; those at "fusion" sit after the backbone, all others in it.
        unfrozen: names of the backbone's parameters that move as well.
        labels: task -> its labels, in order; empty for regression.
        outputs: task -> O, how many numbers its head gives.
        pool: how hidden states become the vector that heads read.
        width: D, of the backbone's last hidden states.
        head_width: width of the vector that heads read.
        parameters: counts.
        towers: modality -> the model that its encoder runs.
        order: the modalities that have vectors, in the order in which they are encoded, those together that run in
            step; the last group has "", the backbone.
        notes: what a user should know of it.
        limits: modality -> most of its units that are kept of a sample; None for all.
        frontiers: model -> how far into it nothing changes in training; "" is the backbone.
    """

    recipe: Recipe
    ref: ModelRef
    anatomy: Anatomy
    spec: InputSpec
    grafts: tuple[Graft, ...]
    unfrozen: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]]
    outputs: Mapping[str, int]
    pool: str
    width: int
    head_width: int
    parameters: Counts
    towers: Mapping[str, TowerPlan] = field(default_factory=dict[str, TowerPlan])
    order: Order = (("",),)
    notes: tuple[str, ...] = ()
    limits: Mapping[str, int | None] = field(default_factory=dict[str, "int | None"])
    frontiers: Mapping[str, Frontier] = field(default_factory=dict[str, Frontier])

    @property
    def inside(self) -> tuple[Graft, ...]:
        """The grafts in the backbone."""
        return tuple(graft for graft in self.grafts if graft.site.name != FUSION and not graft.model)

    def inside_tower(self, name: str) -> tuple[Graft, ...]:
        """The grafts in the tower of a modality."""
        return tuple(graft for graft in self.grafts if graft.model == name)

    @property
    def at_fusion(self) -> tuple[Graft, ...]:
        """The grafts after the backbone."""
        return tuple(graft for graft in self.grafts if graft.site.name == FUSION)

    @property
    def joined(self) -> tuple[str, ...]:
        """Modalities of route "fusion" that no adapter reads: they join the pooled vector as they are."""
        return joined_modalities(self.recipe)

    def as_dict(self) -> dict[str, Any]:
        """The stable JSON form of `adaptkit plan --json`, without costs."""
        return {
            "recipe": self.recipe.name,
            "backbone": self.ref.id,
            "family": self.anatomy.family,
            "grafts": [graft.as_dict() for graft in self.grafts],
            "unfrozen": list(self.unfrozen),
            "pool": self.pool if any(self.outputs.values()) else None,
            "labels": {task: list(labels) for task, labels in self.labels.items()},
            "parameters": self.parameters.as_dict(),
        } | ({"towers": {name: tower.as_dict() for name, tower in self.towers.items()}} if self.towers else {})


def make_plan(
    recipe: Recipe,
    *,
    labels: Mapping[str, Sequence[str]] | None = None,
    data: Any = None,
    loaded: DataSet | None = None,
) -> Plan:
    """Resolve a recipe against its backbone's configuration. No weights are read.

    Args:
        recipe: what is asked for.
        labels: task -> labels, where they are known (from an artifact). Otherwise they come from the recipe, or,
            where it has none, from the training split.
        data: taken instead of `[data]`, as by `train`.
        loaded: what `load_data` gave, where it was called already.

    Raises:
        RecipeError: an unknown model, or a modality that the backbone cannot take.
        SiteError: an insertion point that does not exist, or a shape that cannot work.
        DataError: the labels have to be read from data that is not there.
        UnavailableError: the backbone's configuration cannot be had.
    """
    with located(recipe):
        return resolved(recipe, labels or {}, data, loaded)


def resolved(recipe: Recipe, labels: Mapping[str, Sequence[str]], data: Any, loaded: DataSet | None) -> Plan:
    check_names(recipe)
    ref, model, anatomy, spec = backbone_of(recipe)
    width = output_width(model, anatomy, spec)
    pool = pool_of(recipe, model, spec)
    check_pool(pool, model, ref.name, recipe.where("backbone.pool"))
    with torch.device("meta"):
        encoders = build_encoders(recipe, ref, model, spec, width)
        check_mmbt(recipe, ref, model, spec, encoders)
        projections = build_projections(recipe, encoders, model)
        segments = build_segments(recipe, ref, model)
        fusion = build_fusion(recipe, encoders, spec, width, pool)
    context = plan_context(recipe, model, anatomy, spec, encoders, width)
    grafts = plan_grafts(recipe, context)
    order = order_of(recipe, grafts, {"": anatomy} | {name: tower.anatomy for name, tower in context.towers.items()})
    check_order(recipe, order)
    grafts = in_step(grafts, order)
    unfrozen = unfrozen_parameters(model, recipe.backbone.train, where=recipe.where("backbone.train"))
    towers = plan_towers(recipe, towers_of(encoders))
    check_prompts(recipe, context, towers_of(encoders))
    check_means(recipe, grafts, towers)

    tasks, head_width = tasks_of(recipe, labels, data, loaded), fusion.out_width
    outputs = {name: task.outputs for name, task in tasks.items()}
    with torch.device("meta"):
        heads = build_heads(recipe, encoders, head_width, outputs)
    asked = new_parts(recipe, grafts, encoders, projections, fusion, heads)
    check_sizes(recipe, asked)
    own = dict(model.named_parameters())
    of_encoders = [*encoders.values(), *projections.values(), segments]
    learning = own_size([*of_encoders, fusion, *heads.values()], moving=True) + sum(graft.trainable for graft in grafts)
    parts = {
        "backbone": anatomy.parameters,
        "adapters": sum(graft.parameters for graft in grafts),
        "encoders": own_size(of_encoders),
        "heads": sum(map(size, heads.values())),
        "towers": sum(tower.parameters for tower in towers.values()),
        "fusion": size(fusion),
    }
    large = large_parts(recipe, asked, reads=head_width, pretrained=parts["backbone"] + parts["towers"])
    moving = sum(own[name].numel() for name in unfrozen) + sum(tower.trainable for tower in towers.values())
    return Plan(
        recipe=recipe,
        ref=ref,
        anatomy=anatomy,
        spec=spec,
        grafts=grafts,
        unfrozen=unfrozen,
        labels={name: tuple(task.labels) for name, task in tasks.items()},
        outputs=outputs,
        pool=pool,
        width=width,
        head_width=head_width,
        parameters=Counts(total=sum(parts.values()), trainable=moving + learning, **parts),
        towers=towers,
        order=order,
        notes=tuple(large),
        limits={name: encoder.limit for name, encoder in encoders.items()},
        frontiers=frontiers_of(recipe, spec, context, encoders, grafts, order, towers, unfrozen, fusion),
    )


def backbone_of(recipe: Recipe) -> tuple[ModelRef, nn.Module, Anatomy, InputSpec]:
    """The backbone's checkpoint, its skeleton, its sites and what it reads.

    Raises:
        RecipeError: an unknown model or key of its configuration, or one that no recipe can feed.
    """
    backbone = recipe.backbone
    where = recipe.where("backbone.model")
    ref = resolve(backbone.model, base=recipe.base, revision=backbone.revision, config=backbone.config, where=where)
    generates = any(task.generates for task in recipe.task.values())
    ref = replace(ref, added_tokens=backbone.added_tokens or 0, head=generates)
    try:
        model = skeleton(ref)
    except RecipeError as error:
        first = error.problems[0]
        if first.where == "backbone.added_tokens":
            raise
        place = recipe.where("backbone.config" if ref.settings is not None else "backbone.model")
        raise RecipeError(first.message, where=first.where or place, hint=first.hint) from error
    spec = input_spec(model, ref)
    if spec.form == "audio":
        raise RecipeError(
            f"{ref.name} reads sound, and a backbone reads text or images.",
            where=where,
            hint="Make it the tower of a modality of kind audio.",
        )
    if generates:
        check_generates(model, ref.name, spec, where)
    return ref, model, study(model, name=ref.name), spec


def plan_context(
    recipe: Recipe,
    model: nn.Module,
    anatomy: Anatomy,
    spec: InputSpec,
    encoders: Mapping[str, Encoder],
    width: int,
) -> PlanContext:
    """The backbone and its towers as the places where adapters can go."""
    lengths = stream_lengths(recipe, model, anatomy, spec, encoders)
    fusion = Site(FUSION, FUSION, None, "fusion", "after", width)
    sides = side_shapes(recipe, encoders)
    spans = span_shapes(recipe, encoders, width)
    towers = tower_contexts(recipe, encoders, anatomy, sides)
    lengths = {**lengths, FUSION: lengths.get(anatomy.stacks[-1].name)}
    return PlanContext(model, anatomy, sides, spans, lengths, tuple(recipe.task), fusion, towers=towers)


def check_names(recipe: Recipe) -> None:
    """Names become names of submodules, where torch's containers have attributes of their own."""
    taken, parameters = Adapters(), nn.ParameterDict()
    for table in ("modality", "adapter", "task"):
        for name in getattr(recipe, table):
            if hasattr(taken, name) or (table == "modality" and hasattr(parameters, name)):
                raise RecipeError(
                    f"{table}.{name}: torch's modules have an attribute of this name.",
                    where=recipe.where(f"{table}.{name}"),
                    hint=f'Choose another, for example "{name}_{table}".',
                )


def tasks_of(
    recipe: Recipe, labels: Mapping[str, Sequence[str]], given: Any, loaded: DataSet | None = None
) -> dict[str, Task]:
    """The tasks with their labels; the data is read only where nobody else knows them, and is not loaded yet."""
    specs = {
        name: spec.model_copy(update={"labels": list(labels[name])}) if labels.get(name) else spec
        for name, spec in recipe.task.items()
    }
    unknown = without_labels(specs)
    if unknown:
        data = loaded or load_data(recipe, given)
        # Labels that the data set itself lists may lack examples in its training split.
        listed = {name: data.labels[name] for name in unknown if name in data.labels}
        specs |= {name: specs[name].model_copy(update={"labels": list(found)}) for name, found in listed.items()}
        found = {name: data.targets("train", name) for name in unknown if name not in listed}
    else:
        found = {}
    return {name: Task.build(spec, name, found.get(name)) for name, spec in specs.items()}
