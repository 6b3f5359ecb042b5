"""From the backbone's hidden states to the outputs: their width, the pool, the module of `[fusion]`, the heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from adaptkit.adapters.base import Shape
from adaptkit.anatomy import Anatomy, InputSpec
from adaptkit.anatomy.calling.forward import output_shape
from adaptkit.errors import RecipeError, SiteError
from adaptkit.fusions.base import BACKBONE, FUSIONS, Fusion
from adaptkit.modalities.encoder import Encoder
from adaptkit.plan.streams import side_shapes
from adaptkit.recipe import Recipe
from adaptkit.tasks.task import TASKS


def output_width(model: Any, anatomy: Anatomy, spec: InputSpec) -> int:
    """D of the last hidden states.

    Raises:
        RecipeError: a module of one's own does not return states.
    """
    if spec.own is not None:
        try:
            return output_shape(model, spec)[1]
        except RecipeError as error:
            first = error.problems[0]
            raise RecipeError(first.message, where="backbone.model", hint=first.hint) from error
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
    if spec.form == "image" and spec.own is None:
        return "first"
    if spec.form == "timm" and getattr(model, "num_prefix_tokens", 0) and model.global_pool == "token":
        return "first"
    return "mean"


def check_pool(name: str, backbone: nn.Module, model: str, where: str) -> None:
    """Raise SiteError where a recipe asks for a pooler that the backbone does not have."""
    if name == "pooler" and not isinstance(getattr(backbone, "pooler", None), nn.Module):
        raise SiteError(f"{model} has no pooler.", where=where, hint='Write pool = "mean" or "first".')


def joined_modalities(recipe: Recipe) -> tuple[str, ...]:
    """The modalities of route "fusion" that no adapter reads."""
    read = {side for spec in recipe.adapter.values() for side in spec.sides}
    return tuple(name for name, m in recipe.modality.items() if m.route == "fusion" and name not in read)


def build_fusion(recipe: Recipe, encoders: Mapping[str, Encoder], spec: InputSpec, width: int, pool: str) -> Fusion:
    """What `[fusion]` asks for, on the current default device; frozen where `train = false`.

    Args:
        recipe: with its `[fusion]`.
        encoders: of all modalities.
        spec: what the backbone reads.
        width: D, of the backbone's stream.
        pool: how that becomes a vector.

    Raises:
        SiteError: widths or sizes that cannot work.
    """
    streams = {BACKBONE: Shape(width, None)}
    if pool == "flatten" and not FUSIONS[recipe.fusion.kind].sequences:
        towers = sum(modality.route == "backbone" for modality in recipe.modality.values())
        streams[BACKBONE] = Shape(towers * width, 1)
    shapes = side_shapes(recipe, encoders)
    streams |= {name: shapes[name] for name in joined_modalities(recipe)}
    try:
        fusion = FUSIONS[recipe.fusion.kind](streams, **recipe.fusion.options)
    except SiteError as error:
        first = error.problems[0]
        raise SiteError(f"fusion: {first.message}", where=recipe.where("fusion"), hint=first.hint) from error
    return fusion.requires_grad_(recipe.fusion.train)


def build_heads(
    recipe: Recipe, encoders: Mapping[str, Encoder], width: int, outputs: Mapping[str, int]
) -> dict[str, nn.Module]:
    """The head of every task that has one, on the current default device; frozen where `head.train = false`.

    Args:
        recipe: with its tasks.
        encoders: of all modalities.
        width: of the vector that heads read.
        outputs: task -> O.
    """
    widths = {name: encoder.width for name, encoder in encoders.items()}
    return {
        name: TASKS[task.kind].build_head(task, width, outputs[name], widths)
        for name, task in recipe.task.items()
        if not task.generates
    }
