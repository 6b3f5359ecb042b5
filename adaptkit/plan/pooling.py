"""Which of the backbone's hidden states become the one vector that heads read, and how wide they are."""

from __future__ import annotations

from typing import Any

from torch import nn

from adaptkit.anatomy import Anatomy, InputSpec
from adaptkit.anatomy.calling.forward import output_shape
from adaptkit.errors import RecipeError, SiteError
from adaptkit.recipe import Recipe


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
