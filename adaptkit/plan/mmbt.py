"""`prefix = "mmbt"`: whether the backbone and the recipe allow it, and the segment embeddings that it takes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from adaptkit.anatomy import InputSpec, ModelRef
from adaptkit.anatomy.calling.segments import Segments
from adaptkit.errors import RecipeError, SiteError
from adaptkit.modalities.encoder import Encoder
from adaptkit.plan.streams import spans_of, token_lengths
from adaptkit.recipe import Recipe

SPREAD = 0.01  # standard deviation of a fresh segment around the mean of the published rows


def check_mmbt(
    recipe: Recipe, ref: ModelRef, model: nn.Module, spec: InputSpec, encoders: Mapping[str, Encoder]
) -> None:
    """Raise RecipeError or SiteError where modalities cannot enter the sequence as MMBT has them."""
    if recipe.backbone.prefix != "mmbt":
        return
    where = recipe.where("backbone.prefix")
    try:
        Segments.of(model, ref.name)
    except RecipeError as error:
        raise RecipeError(error.problems[0].message, where=where, hint=error.problems[0].hint) from error
    for name, adapter in recipe.adapter.items():
        if adapter.facts["works_on"] == "sequence" and any("embed.in" in word for word in adapter.at):
            raise RecipeError(
                f'adapter.{name} is a prompt, and prefix = "mmbt" gives every token its position before there is one.',
                where=recipe.where(f"adapter.{name}"),
                hint='Write kind = "prefix" at "attn.kv", or prefix = "plain".',
            )
    before = 0
    for name, (start, stop) in spans_of(recipe, token_lengths(recipe, encoders)).items():
        if stop is None or spec.max_tokens is None:
            continue
        length, before = stop + 1 - before, stop + 1  # with [SEP], the first one with [CLS]
        if length > spec.max_tokens:
            raise SiteError(
                f"modality.{name}: its block has {length} tokens with [CLS] and [SEP], and the backbone "
                f"{spec.max_tokens} positions.",
                where=recipe.where(f"modality.{name}"),
                hint=f"Write max_tokens <= {stop - start - (length - spec.max_tokens)} there.",
            )


def build_segments(recipe: Recipe, ref: ModelRef, backbone: nn.Module) -> nn.ParameterDict:
    """Modality -> its segment embedding (D,): the mean of the backbone's rows, plus N(0, 0.01²). Empty without MMBT."""
    if recipe.backbone.prefix != "mmbt":
        return nn.ParameterDict()
    rows = backbone.get_parameter(f"{Segments.of(backbone, ref.name).path}.weight").detach().float()  # (2, D)
    return nn.ParameterDict(
        {
            name: nn.Parameter(rows.mean(0) + SPREAD * torch.randn_like(rows[0]), requires_grad=modality.train)
            for name, modality in recipe.modality.items()
            if modality.route == "tokens"
        }
    )
