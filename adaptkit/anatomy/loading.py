"""One door to both libraries: skeleton, weights and tokenizer of a ModelRef."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from adaptkit.anatomy.models import ModelRef
from adaptkit.errors import RecipeError


def skeleton(ref: ModelRef) -> nn.Module:
    """The backbone on the meta device, from its configuration alone.

    Raises:
        RecipeError: a timm name that does not exist, or an unreadable local configuration.
        UnavailableError: a hub id that is not cached, without network.
    """
    return _library(ref).skeleton(ref)


def load(
    ref: ModelRef,
    *,
    dropout: Literal["off", "keep"] = "keep",
    precision: Literal["float32", "bfloat16", "float16", "shipped"] = "shipped",
) -> nn.Module:
    """The backbone with its weights, in evaluation mode, on the CPU.

    Args:
        ref: from `resolve`.
        dropout: "off" sets every dropout of the backbone to 0; "keep" leaves the published values.
        precision: dtype of the weights; "shipped" keeps the file's.

    Raises:
        UnavailableError: neither on this machine nor reachable; the hint names the roads.
    """
    return _library(ref).load(ref, dropout=dropout, precision=precision)


def tokenizer(ref: ModelRef) -> Any:
    """The tokenizer that belongs to the backbone.

    Raises:
        RecipeError: timm models read images and have none.
        UnavailableError: neither on this machine nor reachable.
    """
    if ref.library == "timm":
        raise RecipeError(f"{ref.name} reads images: it has no tokenizer.")
    return _library(ref).tokenizer(ref)


def _library(ref: ModelRef) -> Any:
    # Imported here so that a recipe on timm does not pay for transformers, nor the other way round.
    if ref.library == "timm":
        from adaptkit.anatomy import timm_models

        return timm_models
    from adaptkit.anatomy import transformers_models

    return transformers_models
