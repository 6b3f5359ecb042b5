"""A model without the adapters that are in it: its anatomy is that of its backbone.

Surgery marks what it leaves in a model: the containers of adapters are `Container`s, its hooks are `MARKED`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

MARKED: set[Callable[..., Any]] = set()


class Container(nn.ModuleDict):
    """Holds adapters, and is no part of the model itself."""


@contextlib.contextmanager
def bare(model: nn.Module) -> Iterator[None]:
    """Set the adapters of a model and their hooks aside; everything is where it was afterwards."""
    registries: list[dict[Any, Any]] = [
        registry
        for module in model.modules()
        for registry in (module._modules, module._forward_pre_hooks, module._forward_hooks)
    ]
    before = [dict(registry) for registry in registries]
    try:
        for registry, known in zip(registries, before, strict=True):
            for key, value in known.items():
                if isinstance(value, Container) or (not isinstance(value, nn.Module) and value in MARKED):
                    del registry[key]
        yield
    finally:
        for registry, known in zip(registries, before, strict=True):
            registry.clear()
            registry.update(known)  # in their order
