"""A model without the adapters that are in it, and without codes: its anatomy is that of its plain backbone.

Surgery marks what it leaves in a model: the containers of adapters are `Container`s, its hooks are `MARKED`. Where a
layer keeps its weight as codes, a plain layer of its shape stands in for it, since no forward without values runs on
codes, whose shapes need not be those of the weight.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from adaptkit.anatomy.quantised import NUMBERS, is_quantised, stand_in

MARKED: set[Callable[..., Any]] = set()


class Container(nn.ModuleDict):
    """Holds adapters, and is no part of the model itself."""


@contextlib.contextmanager
def bare(model: nn.Module) -> Iterator[None]:
    """Set aside the adapters of a model, their hooks and the codes of its weights; all is where it was afterwards."""
    registries: list[dict[Any, Any]] = [
        registry
        for module in model.modules()
        for registry in (module._modules, module._forward_pre_hooks, module._forward_hooks)
    ]
    before = [dict(registry) for registry in registries]
    plain = plain_layers(model)
    try:
        for registry, known in zip(registries, before, strict=True):
            for key, value in known.items():
                if isinstance(value, Container) or (not isinstance(value, nn.Module) and value in MARKED):
                    del registry[key]
                elif value in plain:
                    registry[key] = plain[value]
        yield
    finally:
        for registry, known in zip(registries, before, strict=True):
            registry.clear()
            registry.update(known)  # in their order


def plain_layers(model: nn.Module) -> dict[Any, nn.Module]:
    """Every layer that keeps its weight as codes -> what stands in for it."""
    coded = [module for module in model.modules() if is_quantised(module)]
    if not coded:
        return {}
    of_model = next((p.dtype for p in model.parameters() if p.dtype in NUMBERS), torch.get_default_dtype())
    found = {layer: stand_in(layer, of_model) for layer in coded}
    return {layer: other for layer, other in found.items() if other is not None}
