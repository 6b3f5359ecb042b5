"""One door to every library, and to code of one's own: skeleton, weights and tokenizer of a ModelRef."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from adaptkit.anatomy.loading.resolve import ModelRef, Precision, resolve
from adaptkit.anatomy.model_input import is_own, vocabulary
from adaptkit.anatomy.tables.aliases import tokenizers
from adaptkit.errors import ArtifactError, RecipeError

DEEPEST = 4096  # layers of one stack; published models have some hundred
COUNTS = re.compile(r"(layers?|depths?|blocks?)$")


def refuse_depth(settings: Any, key: str = "") -> None:
    """Raise RecipeError for a number of layers that nobody could build: each is a module, before any weight."""
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            refuse_depth(value, str(name))
    elif isinstance(settings, list | tuple):
        for value in settings:
            refuse_depth(value, key)
    elif isinstance(settings, int) and settings > DEEPEST and COUNTS.search(key):
        raise RecipeError(f"config: {key} is more than {DEEPEST:,}.", hint="Write how many layers it has.")


def skeleton(ref: ModelRef) -> nn.Module:
    """The backbone on the meta device, from its configuration alone.

    Raises:
        RecipeError: a timm name that does not exist, an unreadable local configuration, more layers than can be built,
            or a callable that fails.
        UnavailableError: a hub id that is not cached, without network.
    """
    refuse_depth(ref.settings if ref.builder is None else None)
    return lengthened(_library(ref).skeleton(ref), ref)


def load(
    ref: ModelRef,
    *,
    dropout: Literal["off", "keep"] = "keep",
    precision: Precision = "shipped",
) -> nn.Module:
    """The backbone with its weights, in evaluation mode, on the CPU.

    Args:
        ref: from `resolve`.
        dropout: "off" sets every dropout of the backbone to 0; "keep" leaves the published values.
        precision: dtype of the weights; "shipped" keeps the file's.

    Raises:
        UnavailableError: neither on this machine nor reachable; the hint names the roads.
    """
    if ref.library == "transformers":  # its configuration says both, before there is a model
        return lengthened(_library(ref).load(ref, dropout=dropout, precision=precision), ref)
    model: nn.Module = lengthened(_library(ref).load(ref), ref)
    if dropout == "off":
        switch_off_dropout(model)
    if precision != "shipped":
        model = model.to(getattr(torch, precision))
    return model.eval()


def switch_off_dropout(model: nn.Module) -> None:
    """Set the rate of every dropout module, of torch's attention, and of timm's stochastic depth to 0."""
    module: Any
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
        elif type(module).__name__ == "DropPath":
            module.drop_prob = 0.0


def lengthened(model: Any, ref: ModelRef) -> nn.Module:
    """The model with the words that were added to its table, drawn as the library draws a fresh table.

    From a fixed seed, so that an artifact finds the same base again.

    Raises:
        RecipeError: it has no table of words that could be lengthened.
    """
    if not ref.added_tokens:
        return model
    if ref.library != "transformers" or model.get_input_embeddings() is None:
        raise RecipeError(
            f"{ref.name} has no table of words to lengthen.",
            where="backbone.added_tokens",
            hint="Leave added_tokens out.",
        )
    rows = model.get_input_embeddings().weight.shape[0]
    rng: Any = torch.random  # it has no types
    with rng.fork_rng(devices=[]):
        rng.manual_seed(0)
        model.resize_token_embeddings(rows + ref.added_tokens, mean_resizing=False)
    return model


def save(model: nn.Module, ref: ModelRef, folder: Path) -> None:
    """Write a model as its library does: the library alone loads it again, and so does `load(resolve(str(folder)))`.

    Args:
        model: from `load`, its values changed or not.
        ref: what it was loaded from.
        folder: which is there.

    Raises:
        ArtifactError: it is of no library, so that only its own code could load it.
    """
    if ref.library == "python":
        raise ArtifactError(
            f"{ref.name} is built by code of your own, and a folder cannot hold that.",
            hint="Export the adapters alone: adaptkit export --adapter-only.",
        )
    _library(ref).save(model, ref, folder)


def tokenizer(ref: ModelRef) -> Any:
    """The tokenizer that belongs to the backbone; padding with the end token where it has no padding token.

    Raises:
        RecipeError: timm models read images and have none, and nobody knows that of a callable's.
        UnavailableError: neither on this machine nor reachable.
    """
    if ref.library == "timm":
        raise RecipeError(f"{ref.name} reads images: it has no tokenizer.")
    if ref.library == "python":
        raise RecipeError(f"{ref.name} builds a model, and has no tokenizer.")
    found = _library(ref).tokenizer(ref)
    if found.pad_token is None:
        found.pad_token = found.eos_token
    return found


def tokenizer_for(ref: ModelRef, model: nn.Module, named: str | None, *, base: Path, key: str) -> Callable[[], Any]:
    """What gives the tokenizer for a text model when it is first needed: the one named, or the model's own.

    Args:
        ref: of the model.
        model: a skeleton will do.
        named: alias, hub id or folder whose tokenizer, or one that comes with adaptkit, which is to be
            used instead.
        base: folder that relative paths start from.
        key: the table of the recipe that says so, for errors.

    Raises:
        RecipeError: a model built from a configuration or by a callable, which has no tokenizer, and none is named.
    """
    if named is not None:
        rows = vocabulary(model) if is_own(model) else getattr(getattr(model, "config", None), "vocab_size", None)
        own = tokenizers().get(named)
        bundled = None if own is None else ModelRef(named, named, "transformers", folder=own)
        other = bundled or resolve(named, base=base, where=f"{key}.tokenizer")
        return partial(_fitting, other, rows, f"{key}.tokenizer")
    if ref.settings is not None or ref.library == "python":
        raise RecipeError(
            f"{ref.name} is built {'by a callable' if ref.builder else 'from config'}, so it has no tokenizer to read "
            "text with.",
            where=f"{key}.tokenizer",
            hint='Write for example tokenizer = "bert-base", and its vocab_size into config.',
        )
    return partial(tokenizer, ref)


def _fitting(ref: ModelRef, rows: int | None, where: str) -> Any:
    """The tokenizer, whose words the model has an embedding for each of."""
    found = tokenizer(ref)
    if rows is not None and len(found) > rows:
        raise RecipeError(
            f"the tokenizer of {ref.name} has {len(found)} words, and the model embeds {rows}.",
            where=where,
            hint=f"Write vocab_size = {len(found)} into config, or take another tokenizer.",
        )
    return found


def _library(ref: ModelRef) -> Any:
    if ref.head and ref.library == "timm":
        raise RecipeError(f"{ref.name} reads images and has no language-model head, so it generates no text.")
    # Imported here so that a recipe on timm does not pay for transformers, nor the other way round.
    if ref.library == "python":
        from adaptkit.anatomy.loading import python_models

        return python_models
    if ref.library == "timm":
        from adaptkit.anatomy.loading import timm_models

        return timm_models
    from adaptkit.anatomy.loading import transformers_models

    return transformers_models
