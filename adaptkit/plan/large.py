"""Parts of a recipe that are larger than what they adapt: mostly a default that followed a wide vector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adaptkit.kinds import HEADS
from adaptkit.kinds.key import type_text
from adaptkit.recipe import Recipe

LARGE, NOTICEABLE = 50_000_000, 5_000_000  # parameters: told in any case; told where pretrained models have fewer


def large_parts(recipe: Recipe, parameters: Mapping[str, int], *, reads: int, pretrained: int) -> Iterator[str]:
    """A sentence for every new part with more than 50 million parameters, or more than the pretrained models have.

    Args:
        recipe: whose parts they are.
        parameters: key of the recipe -> number of parameters that it asks for.
        reads: width of the vector that heads read.
        pretrained: parameters of the backbone and the towers.
    """
    for key, count in parameters.items():
        if count > LARGE or count > max(NOTICEABLE, pretrained):
            more = f", more than the pretrained models together ({pretrained:,})" if count > pretrained else ""
            yield f"{key} has {count:,} parameters{more}. {why(recipe, key, reads)}".rstrip()


def why(recipe: Recipe, key: str, reads: int) -> str:
    """The sizes that make a part as large as it is."""
    table, _, name = key.partition(".")
    if table == "task":
        return sizes_of_head(recipe, name.removesuffix(".head"), reads)
    return sizes_of(recipe.fusion.options if table == "fusion" else dict(getattr(recipe, table)[name]))


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
