"""Numbers less their mean over the training split, divided by their standard deviation there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adaptkit.data.moments import Moments
from adaptkit.errors import RunError

# W channels


def register(module: nn.Module, width: int) -> None:
    """Give an encoder the buffers `center`, NaN until `settle`, and `scale`: (W,) each, and part of its artifact."""
    module.register_buffer("center", torch.full((width,), torch.nan))
    module.register_buffer("scale", torch.ones(width))


def settle(center: Tensor, scale: Tensor, found: Moments) -> None:
    """Set both to what the training split gave; a constant channel is only shifted."""
    center.copy_(torch.from_numpy(found.mean))
    scale.copy_(torch.from_numpy(found.scale))


def standardised(values: Tensor, there: Tensor, center: Tensor, scale: Tensor, *, name: str) -> Tensor:
    """(values - center) / scale, and 0 where nothing is there, whatever stands there.

    Args:
        values: (..., W).
        there: bool, of a shape that broadcasts to that of the values.
        center: (W,).
        scale: (W,).
        name: of the modality, for the error.

    Raises:
        RunError: the statistics are not set.
    """
    unset = not torch.compiler.is_compiling() and not values.is_meta and bool(center.isnan().any())
    if unset and there.any():  # of a modality that every sample lacks there are none
        raise RunError(f"the means of {name} are not set.", where=f"modality.{name}", hint="Call fit(batches) first.")
    return torch.where(there, (values - center) / scale, 0.0)
