"""Other weights for fused experts, by way of transformers' experts interface.

Fused experts hold the matrices of all of them in a few parameters (E, D, C), and no module boundary is inside their
forward. Their module looks up by name how it runs them. One that carries adapters is led to `run`, which calls what
its own configuration names, on a stand-in whose parameters are what the adapters make of them. The module itself is
never written to: threads, exceptions and recomputation meet nothing that is half done.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from adaptkit import sides
from adaptkit.adapters.factored import Factored
from adaptkit.surgery import observing
from adaptkit.surgery.hooks import adapters_of, bindings
from adaptkit.surgery.hosts import is_transposed, oriented
from adaptkit.surgery.switching import INTERFACES, Interface, switch, switch_back, switched

EXPERTS = "adaptkit_experts"

# Implementations that multiply by their weights with torch's own functions; kernels get the sum of weight and change.
APART = (None, "eager", "grouped_mm", "batched_mm")


class StandIn:
    """A module with other values of some of its parameters, for a function that only reads it."""

    def __init__(self, module: nn.Module, values: dict[str, Any]) -> None:
        self._module = module
        self._values = values

    def __getattr__(self, name: str) -> Any:
        return self._values[name] if name in self._values else getattr(self._module, name)


def attach(model: nn.Module, path: str, name: str) -> None:
    """Switch the experts over, once; they carry the adapter already."""
    switch(model.get_submodule(path), INTERFACES[EXPERTS])


def detach(model: nn.Module, path: str, name: str) -> None:
    """Give the experts their configuration back if they carry no other such adapter."""
    switch_back(model.get_submodule(path), name)


def run(module: Any, *args: Any, **kwargs: Any) -> Any:
    """What fused experts return, with the weights that their adapters make of theirs."""
    from adaptkit.anatomy.loading.transformers_models import experts_function

    name, kind = switched(module).config._experts_implementation, cast(Any, type(module))
    function = experts_function(name, kind.forward.__wrapped__)
    changed = changed_weights(module)
    if name not in APART:
        changed = {parameter: each.whole() for parameter, each in changed.items()}
    return function(StandIn(module, changed) if changed else module, *args, **kwargs)


def changed_weights(module: nn.Module) -> dict[str, Any]:
    """Parameter -> what its adapters make of it, one after another, as the module keeps it."""
    found: dict[str, Tensor | Factored] = {}
    seen = observing.running()
    for name, adapter in adapters_of(module).items():
        binding = bindings(module)[name]
        if binding.when == "experts":
            before = found.get(binding.parameter)
            weight = oriented(module, parameter=binding.parameter)[0] if before is None else before
            add = None if seen is None else partial(shown, seen, module, name)
            found[binding.parameter] = adapter.expert_weight(weight, sides.read((), binding.stack), add)
    as_kept = is_transposed(module)
    return {parameter: weight.transpose(-2, -1) if as_kept else weight for parameter, weight in found.items()}


def shown(seen: observing.Changes, module: nn.Module, name: str, change: Tensor, product: Tensor) -> None:
    """What an adapter adds to a product with a weight."""
    seen.add(module, name, change, product, None)


def _register() -> None:
    from adaptkit.anatomy.loading.transformers_models import register_experts

    register_experts(EXPERTS, run)


INTERFACES[EXPERTS] = Interface(EXPERTS, "_experts_implementation_internal", _register)
