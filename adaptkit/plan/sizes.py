"""What no machine could hold, told with its size before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from adaptkit.amounts import in_bytes
from adaptkit.errors import Problem, SiteError
from adaptkit.plan.parameters import own_size, size
from adaptkit.recipe import Recipe
from adaptkit.surgery import Graft

FLOAT32 = 4  # bytes
MOST = 10**12  # bytes of one new part: more than the memory of any one machine


def check_sizes(recipe: Recipe, parameters: Mapping[str, int]) -> None:
    """Raise SiteError for new parts that are larger than any memory.

    Args:
        recipe: whose parts they are.
        parameters: key of the recipe -> number of parameters that it asks for.
    """
    hint = "Its keys are widths, ranks and counts: adaptkit plan shows what each comes to. Write smaller ones."
    large = [
        Problem(f"{key}: {count:,} parameters would take {in_bytes(FLOAT32 * count)}.", recipe.where(key), hint)
        for key, count in parameters.items()
        if FLOAT32 * count > MOST
    ]
    if large:
        raise SiteError.all(large)


def new_parts(
    recipe: Recipe,
    grafts: Sequence[Graft],
    encoders: Mapping[str, nn.Module],
    projections: Mapping[str, nn.Module],
    fusion: nn.Module,
    heads: Mapping[str, nn.Module],
) -> dict[str, int]:
    """Key of the recipe -> number of parameters that it asks for. (What surrounds a tower is the encoder's.)"""
    adapters = {f"adapter.{name}": sum(g.parameters for g in grafts if g.adapter == name) for name in recipe.adapter}
    modalities = {
        f"modality.{name}": own_size([encoder, *([projections[name]] if name in projections else [])])
        for name, encoder in encoders.items()
    }
    return (
        adapters | modalities | {"fusion": size(fusion)} | {f"task.{name}.head": size(h) for name, h in heads.items()}
    )
