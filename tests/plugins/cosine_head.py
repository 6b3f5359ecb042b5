"""A head: cosines with one vector per output."""

import torch
from torch import Tensor, nn

from adaptkit.kinds import Positive
from adaptkit.tasks.heads import HEADS


@HEADS.register("cosine_head")
class CosineHead(nn.Module):
    """Cosines of the pooled vector with one vector per output: O·D parameters.

    Args:
        scale: what the cosines are multiplied by.
    """

    def __init__(self, width: int, outputs: int, *, scale: Positive = 10.0) -> None:
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.randn(outputs, width)), scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * nn.functional.normalize(x, dim=1) @ nn.functional.normalize(self.weight, dim=1).T
