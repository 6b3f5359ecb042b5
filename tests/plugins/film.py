"""An adapter: a modality scales and shifts every channel of the stream."""

from collections.abc import Mapping

from torch import Tensor, nn

from adaptkit.adapters.base import ADAPTERS, Adapter, Shape
from adaptkit.pooling import mean
from adaptkit.sides import Sides


@ADAPTERS.register("film")
class FiLM(Adapter):
    """Feature-wise linear modulation (Perez et al. 2018, eq. 2).

    Args:
        shift: whether channels are shifted as well as scaled.
    """

    paper = "Perez et al. 2018"
    formula = "2·E·D, without the shift E·D"
    needs_sides = (1, 1)
    mixes_tokens = "never"

    def __init__(self, host: Shape, sides: Mapping[str, Shape], *, shift: bool = True) -> None:
        super().__init__()
        ((self.side, shape),) = sides.items()
        self.shift = shift
        self.project = nn.Linear(shape.width, (1 + shift) * host.width, bias=False)
        nn.init.zeros_(self.project.weight)

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        side = sides[self.side]
        found = self.project(mean(side.tensor.to(z.dtype), side.mask))[:, None]  # (B, 1, D) or (B, 1, 2·D)
        if not self.shift:
            return found * z
        scale, shift = found.chunk(2, dim=-1)
        return scale * z + shift
