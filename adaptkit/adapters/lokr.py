"""LoKr: a frozen projection changed by a Kronecker product."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.adapters.base import ADAPTERS, Adapter, Shape, check_positive
from adaptkit.adapters.peft import PeftForm
from adaptkit.adapters.projection import (
    check_no_embedding,
    check_projection,
    low_rank_weight,
    project,
    weight_shape,
)
from adaptkit.adapters.translated import Translated
from adaptkit.kinds import Count, Positive
from adaptkit.sides import Sides

# D = O·P width the projection writes, C = I·J width it reads, R rank


@ADAPTERS.register("lokr")
class LoKr(Adapter):
    """Low-rank Kronecker product (Edalati et al. 2022, KronA; Yeh et al. 2024, LyCORIS), mergeable.

    `y = W x + (alpha / rank) (K kron (B A)) x`: the weight (O·P, I·J) changes by a small matrix K (O, I), each entry of
    which multiplies the same block B A (P, J). A block that rank R would not make smaller is one full matrix.

    Identity at init: K is zero, the others Kaiming-uniform (a = sqrt 5).

    Args:
        host: a linear layer or a convolution (of which A has the kernel).
        sides: none.
        rank: R of the block B A.
        alpha: the update is scaled by alpha / rank.
        factor: O and I where they divide the widths, and the most they may be where not; by default the largest
            divisors up to the square root.

    Raises:
        SiteError: the host is no such projection.
    """

    paper = "Edalati et al. 2022; Yeh et al. 2024"
    formula = "O·I + R·(P + J), for D = O·P and C = I·J"
    needs_sides = (0, 0)
    mixes_tokens = "never"
    mergeable = True
    reads_input = True

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        rank: Count = 8,
        alpha: Positive = 8.0,
        factor: Count | None = None,
    ) -> None:
        super().__init__()
        check_positive(rank=rank, factor=1 if factor is None else factor)
        check_projection(host, "LoKr")
        check_no_embedding(host, "LoKr")
        self.host, self.rank, self.factor = host, rank, factor
        self.scaling = alpha / rank
        outputs, inputs, *kernel = weight_shape(host)
        (self.rows, block_rows), (self.columns, block_columns) = divided(outputs, factor), divided(inputs, factor)
        self.K = nn.Parameter(torch.zeros(self.rows, self.columns))
        full = rank >= max(block_rows, block_columns) / 2  # then two factors are hardly smaller than the block
        self.A = nn.Parameter(torch.empty(block_rows if full else rank, block_columns, *kernel))
        self.B = None if full else nn.Parameter(torch.empty(block_rows, rank))
        for matrix in (self.A, self.B):
            if matrix is not None:
                nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        if self.host.convolution is not None:
            return project(self.host, z, self.delta_weight())
        # (K kron M) x = K X M^T for X = x as (I, J): two small products instead of a large one.
        inner = functional.linear(torch.unflatten(z, -1, (self.columns, -1)), self.A)  # (..., C) -> (..., I, R)
        if self.B is not None:
            inner = functional.linear(inner, self.B)  # (..., I, P)
        return self.scaling * (self.K @ inner).flatten(-2)  # (..., O, P) -> (..., D)

    def delta_weight(self) -> Tensor:
        """(D, C, ...), what merging adds to the projection's weight."""
        block = self.A if self.B is None else low_rank_weight(self.A, self.B)
        blocks = self.K.view(self.rows, self.columns, *(1 for _ in block.shape[2:]))
        return self.scaling * torch.kron(blocks, block)

    def peft(self) -> PeftForm | None:
        """PEFT's LoKr, which factors widths as ours does where no factor is given. Linear layers alone."""
        if self.factor is not None or self.host.convolution is not None:
            return None
        block = {"lokr_w2": self.A} if self.B is None else {"lokr_w2_a": self.B, "lokr_w2_b": self.A}
        config = {"r": self.rank, "alpha": self.scaling * self.rank}
        patterns = {"rank_pattern": "r", "alpha_pattern": "alpha"}
        return PeftForm("LOKR", config, {"lokr_w1": self.K, **block}, patterns=patterns)

    @classmethod
    def from_peft(cls, form: PeftForm) -> Translated | None:
        names = {"lokr_w1": "K", "lokr_w2": "A", "lokr_w2_a": "B", "lokr_w2_b": "A"}
        known = form.tensors.keys() <= names.keys() and form.option("decompose_factor", -1) == -1
        if form.method != "LOKR" or not known:
            return None
        state = {names[name]: value for name, value in form.tensors.items()}
        options = {"rank": form.option("r", 8), "alpha": form.option("alpha", 8)}
        return Translated(options, state, ("r", "alpha", "decompose_factor"))


def divided(width: int, factor: int | None) -> tuple[int, int]:
    """A width as a product: `factor` first if it divides, else the largest divisor up to it and the square root."""
    if factor is not None and width % factor == 0:
        return factor, width // factor
    most = min(math.isqrt(width), factor or width)
    small = next(divisor for divisor in range(most, 0, -1) if width % divisor == 0)
    return small, width // small
