"""(IA)3: one trained factor for each channel of what a frozen projection returns, or reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from adaptkit.adapters.adapterhub import HubForm
from adaptkit.adapters.base import ADAPTERS, Adapter, Shape
from adaptkit.adapters.peft import PeftForm
from adaptkit.adapters.projection import check_projection, per_channel, per_output
from adaptkit.adapters.translated import Translated
from adaptkit.errors import SiteError
from adaptkit.sides import Sides

# D width the projection writes, C width it reads, G groups of a convolution


@ADAPTERS.register("ia3")
class IA3(Adapter):
    """Infused adapter that inhibits and amplifies inner activations (Liu et al. 2022, section 3.3), mergeable.

    `y = l * (W x + b)`, bias included, for keys and values; with `on = "input"`, `y = W (l * x) + b`, for the
    activations between the two layers of an MLP (insert it at `mlp.down`). Linear layers and convolutions (one factor
    for each map); an embedding has only outputs.

    Identity at init: l is one.

    Args:
        host: a projection: (..., C) -> (..., D).
        sides: none.
        on: "output" or "input", what l multiplies.

    Raises:
        SiteError: the host is no projection, or `on = "input"` at an embedding, which reads token ids.
    """

    paper = "Liu et al. 2022"
    formula = "D, or C on the input"
    needs_sides = (0, 0)
    mixes_tokens = "never"
    mergeable = True
    reads_input = True

    def __init__(self, host: Shape, sides: Mapping[str, Shape], *, on: Literal["output", "input"] = "output") -> None:
        super().__init__()
        check_projection(host, "(IA)3")
        if host.embedding and on == "input":
            raise SiteError("an embedding reads token ids, which cannot be scaled.", hint='Write on = "output".')
        assert host.in_width is not None
        self.host = host
        self.changes_input = on == "input"
        self.l = nn.Parameter(torch.ones(host.in_width if self.changes_input else host.width))

    def forward(self, h: Tensor, z: Tensor, sides: Sides) -> Tensor:
        """(..., D) -> (..., D), or maps (B, D, H, W): what the projection returned, or is to read, times l."""
        return h * per_channel(self.host, self.l)

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        factor = self.l.to(weight)
        if not self.changes_input:
            return per_output(weight, factor) * weight, None if bias is None else factor * bias
        groups = 1 if self.host.convolution is None else self.host.convolution.groups
        # Each group of outputs reads its own part of the inputs: (D, C, ...) = (G, D / G, C / G, ...).
        by_group = torch.unflatten(weight, 0, (groups, -1))
        factors = factor.view(groups, 1, -1, *(1 for _ in weight.shape[2:]))
        return (by_group * factors).flatten(0, 1), bias

    def peft(self) -> PeftForm | None:
        """PEFT's (IA)3: a column, or a row that multiplies what a "feedforward" module reads. Linear layers alone."""
        if self.host.embedding or self.host.convolution is not None:
            return None
        value = self.l.unsqueeze(0 if self.changes_input else 1)
        lists = ("feedforward_modules",) if self.changes_input else ()
        return PeftForm("IA3", {}, {"ia3_l": value}, transposed=True, lists=lists)

    @classmethod
    def from_peft(cls, form: PeftForm) -> Translated | None:
        if form.method != "IA3" or set(form.tensors) != {"ia3_l"}:
            return None
        (value,) = form.tensors.values()
        return Translated({"on": "input" if len(value) == 1 else "output"}, {"l": value.flatten()})

    def adapterhub(self) -> HubForm | None:
        """AdapterHub's LoRA that scales: outputs alone, of linear layers."""
        if self.changes_input or self.host.embedding or self.host.convolution is not None:
            return None
        config = {"r": 1, "alpha": 1, "composition_mode": "scale", "init_weights": "ia3", "use_gating": False}
        return HubForm("lora", {**config, "use_dora": False, "dropout": 0.0}, {"lora_B": self.l.unsqueeze(1)})

    @classmethod
    def from_adapterhub(cls, form: HubForm) -> Translated | None:
        scales = form.architecture == "lora" and form.config.get("composition_mode") == "scale"
        if not scales or set(form.tensors) != {"lora_B"}:
            return None
        factor = form.option("alpha", 1)  # what AdapterHub multiplies by, besides
        known = ("r", "alpha", "composition_mode")
        return Translated({"on": "output"}, {"l": factor * form.tensors["lora_B"].flatten()}, known)
