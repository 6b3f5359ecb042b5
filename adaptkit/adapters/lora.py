"""LoRA: a low-rank change of a frozen projection."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from adaptkit.adapters.adapterhub import HubForm
from adaptkit.adapters.base import ADAPTERS, Adapter, Shape
from adaptkit.adapters.factored import Factored, Seen
from adaptkit.adapters.peft import PeftForm
from adaptkit.adapters.projection import check_projection, check_rank, low_rank_weight, project_low_rank, weight_shape
from adaptkit.adapters.translated import Translated
from adaptkit.errors import SiteError
from adaptkit.kinds import Count, Positive, Share
from adaptkit.sides import Sides

# B batch, T tokens, D width the projection writes, C width it reads, V rows of an embedding, R rank, E experts


# Ends of tensors' names in PEFT's files -> ours.
PEFT_NAMES = {
    "lora_A.weight": "A",
    "lora_B.weight": "B",
    "lora_embedding_A": "A",
    "lora_embedding_B": "B",
    "lora_magnitude_vector": "m",
    "lora_magnitude_vector.weight": "m",  # until PEFT 0.13
}


@ADAPTERS.register("lora")
class LoRA(Adapter):
    """Low-rank adaptation (Hu et al. 2022, eq. 3): `y = W x + s B A x`, mergeable into W.

    The host may be a linear layer, a convolution (A has its kernel, B is 1 x 1), an embedding (A is looked up), or the
    weights of fused experts, each of which has an A and a B of its own.

    Identity at init: A is Kaiming-uniform (a = sqrt 5) and B zero; at an embedding A is zero and B normal.

    Args:
        host: a projection (`attn.q`, `mlp.up`, ...): (B, T, C) -> (B, T, D).
        sides: none.
        rank: R of B A.
        alpha: the update is scaled by s = alpha / rank.
        scaling: "rank", or "rank_stabilized" for s = alpha / sqrt(rank) (rsLoRA, Kalajdzievski 2023).
        dropout: probability of dropping an input of A in training.

    Raises:
        SiteError: the host is no projection, the rank exceeds the smaller side of its weight (which PEFT takes in
            silence), or there is dropout at an embedding or in fused experts.
    """

    paper = "Hu et al. 2022"
    formula = "R·(C + D), of fused experts E times"
    needs_sides = (0, 0)
    mixes_tokens = "never"
    mergeable = True
    reads_input = True
    changes_experts = True
    halves = (("A",), ("B",))

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        rank: Count = 8,
        alpha: Positive = 16.0,
        scaling: Literal["rank", "rank_stabilized"] = "rank",
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        check_projection(host, type(self).__name__)
        check_rank(host, rank)
        if host.embedding and dropout:
            raise SiteError(
                f"dropout = {dropout} has no meaning at an embedding, which reads token ids.",
                hint="Write dropout = 0.0, or give the embedding an adapter table of its own.",
            )
        if host.experts is not None and dropout:
            raise SiteError(
                f"dropout = {dropout} cannot be had in fused experts, whose forward keeps their inputs to itself.",
                hint="Write dropout = 0.0, or give the experts an adapter table of their own.",
            )
        self.host = host
        self.scaling = alpha / (math.sqrt(rank) if scaling == "rank_stabilized" else rank)
        self.dropout = nn.Dropout(dropout)
        columns, each = weight_shape(host)[1:], () if host.experts is None else (host.experts,)
        self.A = nn.Parameter(torch.zeros(*each, rank, *columns))
        self.B = nn.Parameter(torch.zeros(*each, host.width, rank, *(1 for _ in columns[1:])))
        if host.embedding:
            nn.init.normal_(self.B)
        else:  # the A of all experts are drawn as one matrix of the same inputs
            nn.init.kaiming_uniform_(self.A.data.view(-1, *columns), a=math.sqrt(5))

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        return self.scaling * project_low_rank(self.host, self.dropped(z), self.A, self.B)  # (B, T, C) -> (B, T, D)

    def dropped(self, z: Tensor) -> Tensor:
        """What A reads. Token ids are not numbers to drop."""
        return z if self.host.embedding else self.dropout(z)

    def delta_weight(self) -> Tensor:
        """(D, C, ...), what merging adds to the projection's weight; (D, V) for an embedding, (E, D, C) for experts."""
        return self.scaling * (self.B @ self.A if self.host.experts else low_rank_weight(self.A, self.B))

    def expert_weight(self, weight: Tensor | Factored, sides: Sides, seen: Seen | None = None) -> Factored:
        return Factored(weight, self.B, self.A, self.scaling, seen)

    @torch.no_grad()
    def fit(self, change: Tensor) -> float | None:
        """The largest singular values of the change (Eckart & Young 1936), shared evenly by the two factors.

        None for what multiplies the change by something else, and for fused experts.
        """
        if type(self) is not LoRA or self.host.experts is not None:
            return None
        rank, matrix = len(self.A), change.double().flatten(1) / self.scaling  # (D, C ...)
        linalg: Any = torch.linalg
        factors: tuple[Tensor, Tensor, Tensor] = linalg.svd(matrix, full_matrices=False)
        left, values, right = factors
        kept = values[:rank].sqrt()
        count = len(kept)  # below the rank where a side of the matrix is
        self.A.zero_()
        self.B.zero_()
        self.A.flatten(1)[:count] = (kept[:, None] * right[:count]).to(self.A)
        self.B.flatten(1)[:, :count] = (left[:, :count] * kept).to(self.B)
        whole = float(values.square().sum())
        return float((values[rank:].square().sum() / whole).sqrt()) if whole else 0.0

    def peft(self) -> PeftForm | None:
        """PEFT's LoRA; at an embedding its two tensors have other names. None for the weights of fused experts."""
        if self.host.experts is not None:
            return None
        rank = len(self.A)
        names = ("lora_embedding_A", "lora_embedding_B") if self.host.embedding else ("lora_A.weight", "lora_B.weight")
        return PeftForm(
            "LORA",
            {"r": rank, "lora_alpha": self.scaling * rank, "lora_dropout": self.dropout.p, "use_dora": False},
            dict(zip(names, (self.A, self.B), strict=True)),
            patterns={"rank_pattern": "r", "alpha_pattern": "lora_alpha"},
            ranks={names[0]: 0, names[1]: 1},
            scaling=self.scaling,
            transposed=True,
        )

    @classmethod
    def from_peft(cls, form: PeftForm) -> Translated | None:
        return None if form.method != "LORA" or form.option("use_dora", False) else cls.read_peft(form)

    @classmethod
    def read_peft(cls, form: PeftForm) -> Translated | None:
        """PEFT's LoRA, with or without magnitudes; None where a tensor is not one of its own."""
        if not form.tensors.keys() <= PEFT_NAMES.keys():
            return None
        state = {PEFT_NAMES[name]: value for name, value in form.tensors.items()}
        if "m" in state:
            state["m"] = state["m"].flatten()  # at a convolution (1, D, 1, ...)
        options = {
            "rank": len(state["A"]) if "A" in state else 1,
            "alpha": form.option("lora_alpha", 8),
            "scaling": "rank_stabilized" if form.option("use_rslora", False) else "rank",
            "dropout": form.option("lora_dropout", 0.0),
        }
        return Translated(options, state, ("r", "lora_alpha", "use_rslora", "use_dora", "lora_dropout"))

    def adapterhub(self) -> HubForm | None:
        """AdapterHub's LoRA, of linear layers; None where it adapts more than that."""
        other = self.host.embedding or self.host.convolution is not None or self.host.experts is not None
        if type(self) is not LoRA or other:
            return None
        rank = len(self.A)
        config = {"r": rank, "alpha": self.scaling * rank, "composition_mode": "add", "dropout": self.dropout.p}
        told = {**config, "init_weights": "lora", "use_dora": False, "use_gating": False}
        return HubForm("lora", told, {"lora_A": self.A, "lora_B": self.B})

    @classmethod
    def from_adapterhub(cls, form: HubForm) -> Translated | None:
        """AdapterHub's LoRA that adds; not its DoRA, whose merge and magnitudes differ."""
        config = form.config
        adds = form.architecture == "lora" and config.get("composition_mode", "add") == "add"
        if cls is not LoRA or not adds or set(form.tensors) != {"lora_A", "lora_B"}:
            return None
        state = {"A": form.tensors["lora_A"], "B": form.tensors["lora_B"]}
        # With a gate, which is not understood, its scale would be another one.
        options = {"rank": len(state["A"]), "alpha": form.option("alpha", 8), "dropout": form.option("dropout", 0.0)}
        return Translated(options, state, ("r", "alpha", "composition_mode", "dropout"))
