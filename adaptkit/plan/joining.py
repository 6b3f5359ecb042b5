"""What comes after the backbone: the module of `[fusion]`, where modalities join its vector, and the heads."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from adaptkit.adapters.base import Shape
from adaptkit.anatomy import InputSpec
from adaptkit.errors import SiteError
from adaptkit.fusions import BACKBONE, FUSIONS, Fusion
from adaptkit.modalities import Encoder
from adaptkit.recipe import Recipe
from adaptkit.tasks.task import TASKS


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
    streams |= {name: Shape(encoders[name].width, encoders[name].tokens) for name in joined_modalities(recipe)}
    try:
        fusion = FUSIONS[recipe.fusion.kind](streams, **recipe.fusion.options)
    except SiteError as error:
        first = error.problems[0]
        raise SiteError(f"fusion: {first.message}", where=recipe.where("fusion"), hint=first.hint) from error
    return fusion.requires_grad_(recipe.fusion.train)


def build_heads(
    recipe: Recipe, encoders: Mapping[str, Encoder], width: int, outputs: Mapping[str, int]
) -> dict[str, nn.Module]:
    """The head of every task, on the current default device; frozen where `head.train = false`.

    Args:
        recipe: with its tasks.
        encoders: of all modalities.
        width: of the vector that heads read.
        outputs: task -> O.
    """
    widths = {name: encoder.width for name, encoder in encoders.items()}
    return {name: TASKS[task.kind].build_head(task, width, outputs[name], widths) for name, task in recipe.task.items()}
