"""Every adapter, in the placements its paper and its users give it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from adaptkit.adapters.base import Shape
from adaptkit.anatomy import Anatomy, Site, select
from adaptkit.sides import Side
from adaptkit.surgery import Graft
from tests.laws.families import Family

SIDES = {"poster": Shape(5, 1), "trailer": Shape(7, 3)}


@dataclass(frozen=True)
class Case:
    """One adapter at one kind of place."""

    name: str
    kind: str
    at: tuple[str, ...]
    conv_at: tuple[str, ...] = ("block.out",)
    sides: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    read: str | None = None

    def grafts(self, family: Family, anatomy: Anatomy | None = None) -> list[Graft]:
        """The grafts for this family; empty where the placement does not exist there."""
        known = anatomy or family.anatomy()
        wanted = self.conv_at if family.convolutional else self.at
        names = {site.name for site in known.sites}
        sites = list(select(known, [n for n in wanted if n in names], "all")) if set(wanted) & names else []
        return [self.graft(site, family, known) for site in sites]

    def graft(self, site: Site, family: Family, anatomy: Anatomy) -> Graft:
        tokens = family.lengths.get(site.stack, 64)
        read = None
        if self.read is not None:
            place = (f"{site.name.rpartition('.')[0]}.{self.read}", site.stack, site.layer)
            read = next(s for s in anatomy.sites if (s.name, s.stack, s.layer) == place)
        host = Shape(site.width, tokens, site.in_width)
        sides = {name: SIDES[name] for name in self.sides}
        return Graft("law", self.kind, site, host, sides, self.options, read)


CASES = {
    case.name: case
    for case in (
        Case(
            "houlsby",
            "bottleneck",
            ("attn.out", "cross_attn.out", "mlp.out"),
            options={"reduction_factor": 4},
        ),
        Case(
            "pfeiffer",
            "bottleneck",
            ("mlp.sum",),
            conv_at=(),
            options={"bottleneck": 6, "activation": "relu"},
        ),
        Case(
            "parallel",
            "bottleneck",
            ("mlp.out",),
            conv_at=(),
            read="stream",
            options={"reduction_factor": 2, "scale": "learned", "norm_before": True, "norm_after": True},
        ),
        Case("gmu_tied", "gmu", ("attn.out", "mlp.out"), sides=("poster",), options={"bottleneck": 6}),
        Case("gmu_gates", "gmu", ("mlp.out",), sides=("poster", "trailer"), options={"bottleneck": 6}),
        Case(
            "wander_cp",
            "wander",
            ("mlp.out",),
            sides=("poster", "trailer"),
            options={"rank": 4, "drank": 2, "trank": 3},
        ),
        Case(
            "wander_published",
            "wander",
            ("block.out",),
            sides=("trailer",),
            options={"rank": 4, "drank": 2, "trank": 3, "combine": "published"},
        ),
        Case("lora", "lora", ("attn.q", "attn.v", "mlp.up"), conv_at=(), options={"rank": 2, "alpha": 4.0}),
    )
}


def side_inputs(batch: int = 3) -> dict[str, Side]:
    """Sides with a hole: the second sample's trailer has one token, the third sample has no poster."""
    generator = torch.Generator().manual_seed(2)
    poster = torch.randn(batch, 1, 5, generator=generator)
    trailer = torch.randn(batch, 3, 7, generator=generator)
    has_poster = torch.tensor([[True], [True], [False]])[:batch]
    has_frame = torch.ones(batch, 3, dtype=torch.bool)
    has_frame[1, 1:] = False
    return {
        "poster": Side(poster * has_poster[..., None], has_poster, has_poster[:, 0]),
        "trailer": Side(trailer, has_frame, has_frame.any(1)),
    }


def total(outputs: tuple[Tensor, ...]) -> Tensor:
    """A loss that every output has a part in, and that no symmetry of a norm makes constant."""
    return sum(((value * torch.linspace(-1, 1, value.shape[-1])) ** 2).mean() for value in outputs)
