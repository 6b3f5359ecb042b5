"""From a recipe to the immutable list of what surgery will do, with exact counts, before a weight is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from adaptkit.anatomy import Anatomy, InputSpec, ModelRef, Site, input_spec, resolve, skeleton, study
from adaptkit.data import load_data
from adaptkit.encoders import Encoder
from adaptkit.errors import RecipeError, SiteError
from adaptkit.heads import build_head
from adaptkit.plan.grafting import FUSION, Ground, plan_grafts
from adaptkit.plan.streams import build_encoders, build_projections, side_shapes, span_shapes, stream_lengths
from adaptkit.plan.unfreezing import unfrozen_parameters
from adaptkit.recipe import Recipe, located
from adaptkit.surgery.graft import Graft
from adaptkit.surgery.hooks import Adapters
from adaptkit.tasks import Task


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of parameters; `total` counts every parameter of the adapted model once."""

    total: int
    trainable: int
    backbone: int
    adapters: int
    encoders: int
    heads: int

    @property
    def percent(self) -> float:
        """Trainable share of the total, in percent."""
        return 100 * self.trainable / self.total

    def as_dict(self) -> dict[str, float]:
        return {**asdict(self), "percent": round(self.percent, 4)}


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
        pool: how hidden states become the vector that heads read.
        width: D, of the backbone's last hidden states.
        head_width: width of the vector that heads read.
        parameters: counts.
    """

    recipe: Recipe
    ref: ModelRef
    anatomy: Anatomy
    spec: InputSpec
    grafts: tuple[Graft, ...]
    unfrozen: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]]
    pool: str
    width: int
    head_width: int
    parameters: Counts

    @property
    def inside(self) -> tuple[Graft, ...]:
        """The grafts in the backbone."""
        return tuple(graft for graft in self.grafts if graft.site.name != FUSION)

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
            "labels": {task: list(labels) for task, labels in self.labels.items()},
            "parameters": self.parameters.as_dict(),
        }


def make_plan(recipe: Recipe, *, labels: Mapping[str, Sequence[str]] | None = None) -> Plan:
    """Resolve a recipe against its backbone's configuration. No weights are read.

    Args:
        recipe: what is asked for.
        labels: task -> labels, where they are known (from an artifact). Otherwise they come from the recipe, or,
            where it has none, from the training split.

    Raises:
        RecipeError: an unknown model, or a modality that the backbone cannot take.
        SiteError: an insertion point that does not exist, or a shape that cannot work.
        DataError: the labels have to be read from data that is not there.
        UnavailableError: the backbone's configuration cannot be had.
    """
    with located(recipe):
        return resolved(recipe, labels or {})


def resolved(recipe: Recipe, labels: Mapping[str, Sequence[str]]) -> Plan:
    check_names(recipe)
    ref = resolve(
        recipe.backbone.model,
        base=recipe.base,
        revision=recipe.backbone.revision,
        where=recipe.where("backbone.model"),
    )
    model = skeleton(ref)
    anatomy, spec = study(model, name=ref.name), input_spec(model, ref)
    width = output_width(model, anatomy, spec)
    pool = pool_of(recipe, model, spec)
    check_pool(pool, model, ref.name, recipe.where("backbone.pool"))
    with torch.device("meta"):
        encoders = build_encoders(recipe, ref, spec, width)
        projections = build_projections(recipe, encoders, width)
    lengths = stream_lengths(recipe, model, anatomy, spec, encoders)
    after = lengths.get(anatomy.stacks[-1].name)
    fusion = Site(FUSION, FUSION, None, "fusion", "after", width)
    spans = span_shapes(recipe, encoders, width)
    sides, lengths = side_shapes(recipe, encoders), {**lengths, FUSION: after}
    grafts = plan_grafts(recipe, Ground(model, anatomy, sides, spans, lengths, tuple(recipe.task), fusion))
    unfrozen = unfrozen_parameters(model, recipe.backbone.train, where=recipe.where("backbone.train"))

    head_width = pooled_width(recipe, encoders, spec, width, pool)
    tasks = tasks_of(recipe, labels)
    with torch.device("meta"):
        heads = [build_head(recipe.task[name].head, head_width, task.outputs) for name, task in tasks.items()]
    own = dict(model.named_parameters())
    moving = sum(own[name].numel() for name in unfrozen)
    parts = {
        "backbone": anatomy.parameters,
        "adapters": sum(graft.parameters for graft in grafts),
        "encoders": sum(map(size, [*encoders.values(), *projections.values()])),
        "heads": sum(map(size, heads)),
    }
    learning = sum(size(h) for h, task in zip(heads, recipe.task.values(), strict=True) if task.head.train)
    trainable = moving + sum(graft.trainable for graft in grafts) + parts["encoders"] + learning
    counts = Counts(total=sum(parts.values()), trainable=trainable, **parts)
    found = {name: tuple(task.labels) for name, task in tasks.items()}
    return Plan(recipe, ref, anatomy, spec, grafts, unfrozen, found, pool, width, head_width, counts)


def check_names(recipe: Recipe) -> None:
    """Names become names of submodules, where torch's containers have attributes of their own."""
    taken = Adapters()
    for table in ("modality", "adapter", "task"):
        for name in getattr(recipe, table):
            if hasattr(taken, name):
                raise RecipeError(
                    f"{table}.{name}: torch's modules have an attribute of this name.",
                    where=recipe.where(f"{table}.{name}"),
                    hint=f'Choose another, for example "{name}_{table}".',
                )


def tasks_of(recipe: Recipe, labels: Mapping[str, Sequence[str]]) -> dict[str, Task]:
    """The tasks with their labels; the data is read only where nobody else knows them."""
    specs = {
        name: spec.model_copy(update={"labels": list(labels[name])}) if labels.get(name) else spec
        for name, spec in recipe.task.items()
    }
    unknown = [name for name, spec in specs.items() if getattr(spec, "labels", ()) is None]
    training = load_data(recipe).splits["train"] if unknown else ()
    return {
        name: Task.build(spec, name, [sample.targets[name] for sample in training] if name in unknown else None)
        for name, spec in specs.items()
    }


def output_width(model: Any, anatomy: Anatomy, spec: InputSpec) -> int:
    """D of the last hidden states."""
    if spec.form == "two_towers":
        return model.config.projection_dim
    if spec.form == "timm":
        return model.num_features
    last = [site for site in anatomy.sites if site.name in ("final.out", "block.out")]
    return last[-1].width if last else anatomy.stacks[-1].width


def pool_of(recipe: Recipe, model: Any, spec: InputSpec) -> str:
    """The pool of the recipe; "auto" is what the backbone was trained with, as far as that is known."""
    if recipe.backbone.pool != "auto":
        return recipe.backbone.pool
    if spec.form == "two_towers":
        return "flatten"
    if spec.causal or spec.form == "encoder_decoder":
        return "last"
    if spec.form == "image":
        return "first"
    if spec.form == "timm" and getattr(model, "num_prefix_tokens", 0) and model.global_pool == "token":
        return "first"
    return "mean"


def check_pool(name: str, backbone: nn.Module, model: str, where: str) -> None:
    """Raise SiteError where a recipe asks for a pooler that the backbone does not have."""
    if name == "pooler" and not isinstance(getattr(backbone, "pooler", None), nn.Module):
        raise SiteError(f"{model} has no pooler.", where=where, hint='Write pool = "mean" or "first".')


def pooled_width(recipe: Recipe, encoders: Mapping[str, Encoder], spec: InputSpec, width: int, pool: str) -> int:
    """Width of the vector that heads read: the pooled stream, then the modalities that join it."""
    tokens = 1
    if pool == "flatten":
        tokens = sum(modality.route == "backbone" for modality in recipe.modality.values())
    return tokens * width + sum(encoders[name].width for name in joined_modalities(recipe))


def joined_modalities(recipe: Recipe) -> tuple[str, ...]:
    read = {side for spec in recipe.adapter.values() for side in spec.sides}
    return tuple(name for name, m in recipe.modality.items() if m.route == "fusion" and name not in read)


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
