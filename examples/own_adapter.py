"""Write an adapter of your own, register it, and graft it into a model.

Runs offline: the ViT is tiny and randomly initialised. python examples/own_adapter.py
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

import adaptkit as ak
from adaptkit.adapters.base import ADAPTERS, Adapter, Shape
from adaptkit.anatomy import select, study
from adaptkit.sides import Sides

# B batch, T tokens, D width


@ADAPTERS.register("scale_and_shift")
class ScaleAndShift(Adapter):
    """Scale and shift every channel: `h * scale + shift` (SSF, Lian et al. 2022). Identity at init."""

    paper = "Lian et al. 2022"
    formula = "2·D"
    mixes_tokens = "never"

    def __init__(self, host: Shape, sides: Mapping[str, Shape], *, start: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((host.width,), start))
        self.shift = nn.Parameter(torch.zeros(host.width))

    def forward(self, h: Tensor, z: Tensor, sides: Sides) -> Tensor:
        return h * self.scale + self.shift  # (B, T, D)


torch.manual_seed(0)
config = ViTConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=16, patch_size=4
)
model = ViTModel(config).eval()
pixels = torch.randn(2, 3, 16, 16)
with torch.no_grad():
    plain = model(pixels).last_hidden_state

sites = select(study(model, name="tiny ViT"), ["attn.in", "mlp.out"])
receipt = ak.insert(model, [ak.Graft("ssf", "scale_and_shift", site, Shape(site.width)) for site in sites])
for name, parameter in model.named_parameters():
    if parameter.requires_grad:
        print(f"{name:<55} {tuple(parameter.shape)}")
with torch.no_grad():
    print("identity at init:", torch.equal(model(pixels).last_hidden_state, plain))
    for path, child in receipt.grafts:
        model.get_submodule(path).adapters[child].shift.add_(0.1)
    print(f"with every shift at 0.1: {(model(pixels).last_hidden_state - plain).abs().max():.3f} away")
    ak.remove(model, receipt)
    print("restored bit for bit:", torch.equal(model(pixels).last_hidden_state, plain))
