"""Parts of a recipe that are larger than what they adapt: mostly a default that followed a wide vector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from adaptkit.kinds import HEADS
from adaptkit.kinds.key import type_text
from adaptkit.modalities.encoder import Encoder
from adaptkit.plan.parameters import own_size, size
from adaptkit.recipe import Recipe
from adaptkit.surgery.graft import Graft

LARGE, NOTICEABLE = 50_000_000, 5_000_000  # parameters: told in any case; told where pretrained models have fewer


def large_parts(
    recipe: Recipe,
    grafts: tuple[Graft, ...],
    encoders: Mapping[str, Encoder],
    fusion: nn.Module,
    heads: Mapping[str, nn.Module],
    *,
    reads: int,
    pretrained: int,
) -> Iterator[str]:
    """A sentence for every new part with more than 50 million parameters, or more than the pretrained models have.

    Args:
        recipe: with their tables.
        grafts: of all adapters.
        encoders: modality -> its encoder.
        fusion: of `[fusion]`.
        heads: task -> head.
        reads: width of the vector that heads read.
        pretrained: parameters of the backbone and the towers.
    """
    parts: dict[str, tuple[int, str]] = {}
    for name, spec in recipe.adapter.items():
        count = sum(graft.parameters for graft in grafts if graft.adapter == name)
        parts[f"adapter.{name}"] = count, sizes_of(spec.options)
    for name, encoder in encoders.items():
        parts[f"modality.{name}"] = own_size([encoder]), f"It makes vectors of {encoder.width:,}."
    parts["fusion"] = size(fusion), sizes_of(recipe.fusion.options)
    for name, head in heads.items():
        parts[f"task.{name}.head"] = size(head), sizes_of_head(recipe, name, reads)
    for place, (count, why) in parts.items():
        if count > LARGE or count > max(NOTICEABLE, pretrained):
            more = f", more than the pretrained models together ({pretrained:,})" if count > pretrained else ""
            yield f"{place} has {count:,} parameters{more}. {why}".rstrip()


def sizes_of(options: Mapping[str, Any]) -> str:
    """`Its sizes are rank = 16, drank = 8.`"""
    sizes = [f"{key} = {value}" for key, value in options.items() if type(value) is int and value > 1]
    return f"Its sizes are {', '.join(sizes)}." if sizes else ""


def sizes_of_head(recipe: Recipe, task: str, reads: int) -> str:
    """What it reads, and what to write where a width that nobody wrote follows from it."""
    spec = recipe.task[task].head
    keys = HEADS.kinds[spec.kind].keys
    follows = [key for key, value in spec.options.items() if value is None and "int" in type_text(keys[key].type)]
    narrow = f"It reads {reads:,} numbers; [fusion] and pools make them fewer."
    if not follows:
        return narrow
    written = ", ".join(f"{key} = 256" for key in follows)
    return f'{narrow} It is as wide itself: write head = {{ kind = "{spec.kind}", {written} }}.'
