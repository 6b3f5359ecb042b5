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
    children: list[tuple[Any, Any]] = [(module._modules, dict(module._modules)) for module in model.modules()]
    hooked = (registry for m in model.modules() for registry in (m._forward_pre_hooks, m._forward_hooks))
    hooks: list[tuple[Any, Any]] = [(registry, dict(registry)) for registry in hooked]
    try:
        for registry, known in children:
            for name in [name for name, child in known.items() if isinstance(child, Container)]:
                del registry[name]
        for registry, known in hooks:
            for key in [key for key, hook in known.items() if hook in MARKED]:
                del registry[key]
        yield
    finally:
        for registry, known in (*children, *hooks):
            registry.clear()
            registry.update(known)  # in their order
