"""What every fusion is: the streams that meet after the backbone become the one vector that heads read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from adaptkit import kinds, pooling
from adaptkit.adapters.base import Shape, check_positive
from adaptkit.adapters.norms import SequenceNorm, vector_norm
from adaptkit.errors import SiteError
from adaptkit.kinds import Kinds
from adaptkit.recipe.fusion import BACKBONE
from adaptkit.sides import Side

# B batch, T tokens, E width of a stream, W width of the result


class Fusion(nn.Module):
    """Base of all fusions: `forward(streams) -> (B, W)`.

    A subclass is built from the shapes of its streams (the backbone's first, then the modalities of route "fusion"
    that no adapter reads) and the keys of `[fusion]` as keyword arguments. An absent modality is a stream without
    any token that counts.

    Attributes:
        paper: where the method comes from.
        formula: number of parameters as a formula.
        least: fewest streams it works on.
        sequences: it reads whole sequences; otherwise every stream is one vector, the backbone's being pooled as
            `backbone.pool` says and a modality's the mean of its tokens.
        free_keys: keys that may be other ones than those of the fusion it starts from, as of adapters.
        norms: with `norm`, of every stream's vector, or of its whole sequence.
        names: of the streams, in order.
        out_width: W.
    """

    paper: ClassVar[str]
    formula: ClassVar[str]
    least: ClassVar[int] = 2
    sequences: ClassVar[bool] = False
    free_keys: ClassVar[frozenset[str]] = frozenset({"width", "dropout", "embed_dropout"})

    def __init__(self, streams: Mapping[str, Shape], out_width: int, *, norm: bool = False) -> None:
        super().__init__()
        self.names, self.out_width = tuple(streams), out_width
        made = SequenceNorm if self.sequences else vector_norm
        self.norms = nn.ModuleDict({name: made(shape.width) for name, shape in streams.items()} if norm else {})
        if len(streams) < self.least:
            raise SiteError(
                f"this fusion needs at least {self.least} streams, and there are {len(streams)}.",
                hint='Give another modality route = "fusion", or write kind = "concat".',
            )

    def forward(self, streams: Mapping[str, Side]) -> Tensor:
        """(B, T, E) per stream -> (B, W)."""
        raise NotImplementedError

    def vectors(self, streams: Mapping[str, Side]) -> Iterator[tuple[Tensor, Tensor]]:
        """(B, E) and (B, 1) of every stream: the mean of its tokens that count, and whether there are any.

        With norms the mean is normalised; without any token it is 0.
        """
        first = streams[self.names[0]].tensor.dtype
        dtype = next((parameter.dtype for parameter in self.parameters()), first)
        for name in self.names:
            side = streams[name]
            x, heard = pooling.mean(side.tensor, side.mask).to(dtype), side.mask.any(dim=1, keepdim=True)
            yield torch.where(heard, self.norms[name](x), 0.0) if self.norms else x, heard


class ProjectedFusion(Fusion):
    """Base of fusions whose vectors may be projected to one width first.

    Args:
        streams: shapes of what meets.
        out_width: W.
        width: P, every vector is projected to it; None: they stay as they are.
        norm: LayerNorm on every vector first.
    """

    def __init__(self, streams: Mapping[str, Shape], out_width: int, width: int | None, *, norm: bool) -> None:
        super().__init__(streams, out_width, norm=norm)
        self.projections = None
        if width is not None:
            check_positive(width=width)
            self.projections = nn.ModuleDict({name: nn.Linear(s.width, width) for name, s in streams.items()})

    def projected(self, streams: Mapping[str, Side]) -> list[Tensor]:
        """(B, P) or (B, E) of every stream; zeros of an absent one, projected or not."""
        vectors = [*self.vectors(streams)]
        if self.projections is None:
            return [x for x, _ in vectors]
        return [project(x) * heard for project, (x, heard) in zip(self.projections.values(), vectors, strict=True)]


FUSIONS: Kinds[type[Fusion]] = kinds.FUSIONS

__all__ = ["BACKBONE", "FUSIONS", "Fusion", "ProjectedFusion"]
