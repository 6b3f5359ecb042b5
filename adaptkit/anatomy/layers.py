"""The linear maps of a model, whatever class they are: input and output width, in one vocabulary."""

from __future__ import annotations

from typing import Any

from torch import nn


def widths(module: Any) -> tuple[int, int] | None:
    """(input, output) channels of a Linear, an HF Conv1D or a dense Conv2d; None for anything else.

    A depthwise convolution mixes no channels and is none of them.
    """
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D" and hasattr(module, "nx") and hasattr(module, "nf"):
        return module.nx, module.nf
    if isinstance(module, (nn.Conv2d, nn.Conv1d)) and module.groups < max(2, module.in_channels):
        return module.in_channels, module.out_channels
    weight = getattr(module, "weight", None)
    if type(module).__name__.endswith("Linear") and isinstance(weight, nn.Parameter) and weight.dim() == 2:
        return weight.shape[1], weight.shape[0]  # of a library's own (I-BERT's QuantLinear)
    return None


def norm_width(module: nn.Module, shape: tuple[int, ...] = ()) -> int | None:
    """D of a normalisation layer (LayerNorm, RMSNorm, BatchNorm, ... by class name), else None.

    Args:
        module: any.
        shape: of what it reads; tells D where the norm has no gain (OLMo).
    """
    name = type(module).__name__.lower()
    if "norm" not in name:
        return None
    weight = getattr(module, "weight", None)
    if isinstance(weight, nn.Parameter):
        return int(weight.numel())
    return shape[-1] if shape and not any(True for _ in module.parameters()) else None
