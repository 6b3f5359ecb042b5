"""One hash for all tensors of a backbone: proves that frozen means frozen, and that an artifact fits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def fingerprint(model: nn.Module) -> str:
    """`sha256:...` over name, dtype, shape and bytes of all parameters and persistent buffers, by name.

    Tensors of grafted adapters (names with `.adapters.`) do not count, so that the hash is the same before
    and after surgery. Tied tensors count under each of their names.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if ".adapters." in f".{name}":
            continue
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        for part in parts(tensor.detach()):
            digest.update(part.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"


def parts(tensor: Tensor) -> Iterator[Tensor]:
    """The plain tensors that one consists of: codes and scales, where it has other numbers than its own bytes."""
    inside: Any = getattr(tensor, "__tensor_flatten__", None)
    if inside is None:
        yield tensor
        return
    for name in inside()[0]:
        yield from parts(getattr(tensor, name))
