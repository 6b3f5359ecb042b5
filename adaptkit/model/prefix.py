"""What goes before the text: the modalities of route "tokens", as they are or as MMBT arranges them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.anatomy import tokenizer_for
from adaptkit.anatomy.calling.forward import Prefix
from adaptkit.anatomy.calling.segments import Segments, ends_of_sequence, input_embedding
from adaptkit.plan import Plan
from adaptkit.sides import Side

# B batch, T tokens of a modality, N tokens of the prefix, D width of the input embeddings


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What MMBT's arrangement needs to know of the backbone.

    Attributes:
        segments: its segment table and its first position.
        cls: id of [CLS].
        sep: id of [SEP].
    """

    segments: Segments
    cls: int
    sep: int

    @classmethod
    def of(cls, plan: Plan, backbone: nn.Module) -> Arrangement | None:
        """For `prefix = "mmbt"`; None for all others.

        Raises:
            RecipeError: the backbone, or its tokenizer, has not what that takes.
            UnavailableError: the tokenizer cannot be had.
        """
        if plan.recipe.backbone.prefix != "mmbt":
            return None
        segments = Segments.of(backbone, plan.ref.name)
        if input_embedding(backbone).weight.is_meta:
            return cls(segments, 0, 0)  # shapes are all that is asked for
        recipe = plan.recipe
        reader = tokenizer_for(plan.ref, backbone, recipe.backbone.tokenizer, base=recipe.base, key="backbone")
        return cls(segments, *ends_of_sequence(reader(), plan.ref.name))


def plain_prefix(
    projections: Mapping[str, nn.Module], streams: Mapping[str, Side], lengths: Mapping[str, int | None]
) -> Prefix | None:
    """The modalities, projected to the backbone's width, in recipe order; None for none.

    Each takes its full length, so that the text's positions do not depend on the other samples of the batch.

    Args:
        projections: modality -> its way into the input sequence.
        streams: modality -> its vectors.
        lengths: modality -> most tokens.
    """
    parts = [full_length(project, streams[name], lengths[name]) for name, project in projections.items()]
    if not parts:
        return None
    return Prefix(torch.cat([tensor for tensor, _ in parts], dim=1), torch.cat([mask for _, mask in parts], dim=1))


def full_length(project: nn.Module, side: Side, full: int | None) -> tuple[Tensor, Tensor]:
    """(B, T, E) -> (B, N, D) and (B, N): projected, and padded to the modality's longest."""
    assert full is not None, "the plan checks that its length is known"
    missing = full - side.mask.shape[1]
    return functional.pad(project(side.tensor), (0, 0, 0, missing)), functional.pad(side.mask, (0, missing))


def mmbt_prefix(
    arrangement: Arrangement,
    backbone: nn.Module,
    projections: Mapping[str, nn.Module],
    segments: Mapping[str, Tensor],
    streams: Mapping[str, Side],
    lengths: Mapping[str, int | None],
) -> Prefix:
    """[CLS] tokens [SEP] tokens [SEP] ..: every modality a block with its own segment, positions from the start.

    The backbone adds row 0 of its segment table to everything it is handed as embeddings, so what is handed over has
    the difference to the modality's own segment in it. Positions count the tokens that count.
    """
    embedding = input_embedding(backbone)
    ids = torch.tensor([arrangement.cls, arrangement.sep], device=embedding.weight.device)
    cls, sep = embedding(ids)[:, None, None]  # (1, 1, D) each
    row = backbone.get_parameter(f"{arrangement.segments.path}.weight")[0]  # (D,)
    tensors, masks, positions = [], [], []
    for name, project in projections.items():
        vectors, counts = full_length(project, streams[name], lengths[name])  # (B, N, D), (B, N)
        batch, heard = len(vectors), counts.any(dim=1, keepdim=True)
        first = not tensors
        ends = [end.expand(batch, 1, -1).to(vectors.dtype) for end in (cls, sep)]
        block = torch.cat([*ends[:first], vectors, ends[1]], dim=1)  # (B, N, D)
        counts = torch.cat([*[torch.ones_like(heard)] * first, counts, heard], dim=1)
        tensors.append(block + (segments[name] - row).to(block.dtype))
        masks.append(counts)
        positions.append((counts.cumsum(1) - 1).clamp(min=0) + arrangement.segments.position)
    joined = [torch.cat(parts, dim=1) for parts in (tensors, masks, positions)]
    return Prefix(joined[0], joined[1], joined[2], arrangement.segments.position)
