"""A fusion: the product of all streams, projected to one width."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from adaptkit.adapters.base import Shape
from adaptkit.fusions.base import FUSIONS, Fusion
from adaptkit.sides import Side


@FUSIONS.register("product")
class Product(Fusion):
    """prod_m (1 + P_m x_m), so that an absent stream is a factor of 1.

    Args:
        width: W of the result.
    """

    paper = "this test"
    formula = "sum_m(E_m·W)"

    def __init__(self, streams: Mapping[str, Shape], *, width: int = 8) -> None:
        super().__init__(streams, width)
        self.projections = nn.ModuleDict({name: nn.Linear(s.width, width, bias=False) for name, s in streams.items()})

    def forward(self, streams: Mapping[str, Side]) -> Tensor:
        pairs = zip(self.projections.values(), self.vectors(streams), strict=True)
        return torch.stack([1 + project(x) for project, (x, _) in pairs]).prod(0)
