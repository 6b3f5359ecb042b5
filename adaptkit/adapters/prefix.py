"""Prefix tuning: trained keys and values that every token of an attention sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn

from adaptkit.adapters.adapterhub import HubForm
from adaptkit.adapters.base import ADAPTERS, Adapter, Shape, check_positive
from adaptkit.adapters.translated import Translated
from adaptkit.errors import SiteError
from adaptkit.kinds import Count
from adaptkit.sides import Sides

# B batch, T tokens, L length of the prefix, D width of all heads' keys, H heads, M width of the re-parametrisation


@ADAPTERS.register("prefix")
class Prefix(Adapter):
    """Trained keys and values before those of an attention (Li & Liang 2021, eq. 3).

    Re-parametrised (their section 4.3), layer i has `W_i tanh(W E + b) + b_i`; E, W and b are common to all layers of a
    stack.

    Never the identity: the prefix takes part of the attention.

    Args:
        host: the keys and values of an attention (`attn.kv`, `cross_attn.kv`), of width D over H heads.
        sides: none.
        length: L, number of trained positions.
        reparametrize: M, width of the layer between E and the keys and values; None trains these themselves.
        positions: where the tokens of a stack are counted from: their "own" beginning, or "after" the prefix, from L on
            as in PEFT. Rotary positions and tables of positions only.

    Raises:
        SiteError: a length or width below 1, a host whose heads are not known, or positions that cannot be moved.
    """

    paper = "Li & Liang 2021"
    formula = "2·L·D, re-parametrised 2·(M + 1)·D per layer and L·D + D·M + M per stack"
    needs_sides = (0, 0)
    mixes_tokens = "never"
    works_on = "attention"
    identity = False

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        length: Count = 20,
        reparametrize: Count | None = None,
        positions: Literal["own", "after"] = "own",
    ) -> None:
        super().__init__()
        check_positive(length=length, reparametrize=1 if reparametrize is None else reparametrize)
        if host.heads is None:
            raise SiteError(
                "a prefix goes before the keys and values of an attention, and this site is none.",
                hint='Insert it at "attn.kv" or "cross_attn.kv".',
            )
        self.heads = host.heads
        self.moves_positions = length if positions == "after" else 0
        out = 2 * host.width  # keys, then values
        self.embedding = nn.Parameter(torch.empty(length, out if reparametrize is None else host.width))
        nn.init.normal_(self.embedding, std=0.02)
        shared = reparametrize is not None
        self.common = nn.Sequential(nn.Linear(host.width, reparametrize), nn.Tanh()) if shared else nn.Identity()
        self.own = nn.Linear(reparametrize, out) if shared else nn.Identity()

    @classmethod
    def tie(cls, adapters: Sequence[Self]) -> None:
        """One embedding and one first layer for all layers of a stack (of each task, where tasks have their own)."""
        first: dict[tuple[object, ...], Self] = {}
        here: Counter[object] = Counter()
        for adapter in adapters:
            if isinstance(adapter.own, nn.Linear):
                leader = first.setdefault(
                    (adapter.placement.stack, adapter.placement.site, here[adapter.placement]), adapter
                )
                here[adapter.placement] += 1
                if leader.embedding.shape == adapter.embedding.shape:
                    adapter.embedding, adapter.common = leader.embedding, leader.common

    def keys_values(self) -> tuple[Tensor, Tensor]:
        """Two of (H, L, D / H)."""
        flat = self.own(self.common(self.embedding))  # (L, 2 D)
        keys, values = flat.unflatten(1, (2, self.heads, -1)).permute(1, 2, 0, 3)
        return keys, values

    def forward(self, h: Tensor, z: Tensor, sides: Sides) -> Tensor:
        """The keys and the values of the prefix, one after the other: (B, 2, H, L, D / H) for B samples of h."""
        return torch.stack(self.keys_values()).to(h.dtype).expand(len(h), -1, -1, -1, -1)

    def adapterhub(self) -> HubForm | None:
        """Its keys and values themselves, (L, 2, H, D / H), re-parametrised or not."""
        if self.moves_positions:
            return None
        length = len(self.embedding)
        told = {"prefix_length": length, "flat": True, "use_gating": False, "dropout": 0.0}
        return HubForm("prefix_tuning", told, {"control_trans": torch.stack(self.keys_values()).permute(2, 0, 1, 3)})

    @classmethod
    def from_adapterhub(cls, form: HubForm) -> Translated | None:
        if form.architecture != "prefix_tuning" or set(form.tensors) != {"control_trans"}:
            return None
        value = form.tensors["control_trans"].flatten(1)  # (L, 2, H, D / H) -> (L, 2 D): keys, then values
        known = ("prefix_length", "flat", "bottleneck_size", "non_linearity")
        return Translated({"length": len(value)}, {"embedding": value}, known)
