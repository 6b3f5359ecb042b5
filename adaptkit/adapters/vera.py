"""VeRA: one frozen random low-rank pair for all layers, and two trained vectors for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.adapters.base import ADAPTERS, Adapter, Shape, check_positive
from adaptkit.adapters.peft import PeftForm
from adaptkit.adapters.projection import check_projection
from adaptkit.adapters.translated import Translated
from adaptkit.errors import SiteError
from adaptkit.kinds import Count, Positive, Share
from adaptkit.sides import Sides

# B batch, T tokens, D width the projection writes, C width it reads, R rank


@ADAPTERS.register("vera")
class VeRA(Adapter):
    """Vector-based random matrix adaptation (Kopiczko et al. 2024, eq. 2): `y = W x + b * (B (d * (A x)))`, mergeable.

    A and B are random, frozen, and the same for all layers of one recipe table: as large as the widest of them needs,
    of which narrower ones use the first rows and columns. Only the vectors d and b are trained. The rank may exceed the
    widths, since no matrix of that rank is trained.

    Identity at init: b is zero; A and B are Kaiming-uniform.

    Args:
        host: a linear layer (`attn.q`, `mlp.up`, ...): (B, T, C) -> (B, T, D).
        sides: none.
        rank: R of B A.
        d_init: initial value of d.
        dropout: probability of dropping an input of A in training.

    Raises:
        SiteError: the host is no linear layer, or d_init is zero, from which nothing could be learnt.
    """

    paper = "Kopiczko et al. 2024"
    free_keys = Adapter.free_keys | {"d_init"}
    formula = "R + D, beside R·(C + D) frozen ones shared by all layers"
    needs_sides = (0, 0)
    mixes_tokens = "never"
    mergeable = True
    reads_input = True
    halves = (("d",), ("b",))

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        rank: Count = 256,
        d_init: Positive = 0.1,
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        check_positive(rank=rank)
        check_projection(host, "VeRA")
        if host.embedding or host.convolution is not None:
            raise SiteError(
                "VeRA is defined for linear layers, and this is none.",
                hint='Write kind = "lora", which also adapts convolutions and embeddings.',
            )
        if d_init == 0:
            raise SiteError("d_init = 0 leaves b without a gradient for ever.", hint="Write d_init = 0.1.")
        assert host.in_width is not None
        self.host = host
        self.dropout = nn.Dropout(dropout)
        self.d = nn.Parameter(torch.full((rank,), d_init))
        self.b = nn.Parameter(torch.zeros(host.width))
        self.A = nn.Parameter(torch.empty(rank, host.in_width), requires_grad=False)
        self.B = nn.Parameter(torch.empty(host.width, rank), requires_grad=False)
        for matrix in (self.A, self.B):
            nn.init.kaiming_uniform_(matrix)

    @classmethod
    def tie(cls, adapters: Sequence[Self]) -> None:
        """All use the A of the one that reads the most and the B of the one that writes the most."""
        a = max((adapter.A for adapter in adapters), key=lambda matrix: matrix.shape[1])
        b = max((adapter.B for adapter in adapters), key=lambda matrix: matrix.shape[0])
        for adapter in adapters:
            adapter.A, adapter.B = a, b  # pyright: ignore[reportConstantRedefinition]

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        a, b = self.projections()
        inner = self.d * functional.linear(self.dropout(z), a)  # (B, T, C) -> (B, T, R)
        return self.b * functional.linear(inner, b)  # (B, T, D)

    def delta_weight(self) -> Tensor:
        """(D, C), what merging adds to the projection's weight."""
        a, b = self.projections()
        return self.b.unsqueeze(1) * (b @ (self.d.unsqueeze(1) * a))

    def projections(self) -> tuple[Tensor, Tensor]:
        """The parts (R, C) of A and (D, R) of B that this host's widths need."""
        return self.A[:, : self.host.in_width], self.B[: self.host.width]

    def peft(self) -> PeftForm:
        """PEFT's VeRA, with the two frozen matrices that all share."""
        return PeftForm(
            "VERA",
            {"r": len(self.d), "vera_dropout": self.dropout.p, "save_projection": True},
            {"vera_lambda_b": self.b, "vera_lambda_d": self.d},
            shared={"vera_A": self.A, "vera_B": self.B},
            transposed=True,
        )

    @classmethod
    def from_peft(cls, form: PeftForm) -> Translated | None:
        names = {"vera_lambda_b": "b", "vera_lambda_d": "d", "vera_A": "A", "vera_B": "B"}
        tensors = {**form.tensors, **form.shared}
        if form.method != "VERA" or set(tensors) != set(names):
            return None
        state = {names[name]: value for name, value in tensors.items()}
        options = {"rank": len(state["d"]), "dropout": form.option("vera_dropout", 0.0)}
        understood = ("r", "vera_dropout", "save_projection", "projection_prng_key", "d_initial")
        return Translated(options, state, understood)
