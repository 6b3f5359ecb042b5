"""How an inserted adapter is bound to its host: a child module and a stateless, module-level forward hook.

The hook finds the adapters through the module it is called with, never through a closure, so a copied or unpickled
model runs its own. It sees whatever the host sees: tokens (B, T, D), maps (B, C, H, W) or (B, H, W, C), tuples,
keyword arguments.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal, cast

from torch import Tensor, nn

from adaptkit.adapters.base import Adapter
from adaptkit.anatomy.bare import MARKED, Container
from adaptkit.surgery.applying import Binding, apply_adapter, first_tensor, output_tensor

Hook = Callable[..., Any]
Inputs = tuple[tuple[Any, ...], dict[str, Any]]  # of a module: positional ones, and by name
RANKS: dict[Hook, int] = {}  # of our hooks at one module: prompts first, then adapters, then whoever reads elsewhere


class Adapters(Container):
    """The adapters of one host, by name. A class of its own, so that ours are told from anybody else's.

    Attributes:
        bindings: name -> how that adapter is bound to this host. Kept here because layers may share one adapter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bindings: dict[str, Binding] = {}

    def forward(self, x: Any, *others: Any) -> Any:
        """Pass on: a host that is an `nn.Sequential` runs all its children, this one too."""
        return x


def adapters_of(host: nn.Module) -> dict[str, Adapter]:
    """The adapters of a host by name, in order; empty where it has none."""
    found = getattr(host, "adapters", None)
    if not isinstance(found, Adapters):
        return {}
    return cast(dict[str, Adapter], dict(found.items()))


def bindings(host: nn.Module) -> dict[str, Binding]:
    """How the adapters of a host are bound to it, by name."""
    found = getattr(host, "adapters", None)
    return found.bindings if isinstance(found, Adapters) else {}


def attach(host: nn.Module, name: str, adapter: Adapter, binding: Binding) -> None:
    """Make the adapter a child of its host and see that the host's hook is there, once."""
    if not hasattr(host, "adapters"):
        host.add_module("adapters", Adapters())
    container = cast(Adapters, host.adapters)
    container[name] = adapter
    container.bindings[name] = binding
    if binding.when == "before":
        register(host, before, "before")
    elif binding.when == "after":
        register(host, after, "after")


def ranked(rank: int) -> Callable[[Hook], Hook]:
    """Decorator of our hooks. At one module they run in the order of their ranks, whatever the order they came in."""

    def add(hook: Hook) -> Hook:
        RANKS[hook] = rank
        MARKED.add(hook)
        return hook

    return add


def register(module: nn.Module, hook: Hook, when: Literal["before", "after"]) -> None:
    """Make a module call one of our hooks with everything it is given; once, before the hooks of anybody else.

    So whoever records hidden states records them as they go on.
    """
    hooks, _ = hooks_of(module, when)
    if hook in hooks.values():
        return
    add = module.register_forward_pre_hook if when == "before" else module.register_forward_hook
    add(hook, with_kwargs=True)
    for key in sorted((key for key, known in hooks.items() if known in RANKS), key=lambda key: -RANKS[hooks[key]]):
        hooks.move_to_end(key, last=False)


def detach(host: nn.Module, name: str) -> None:
    container = cast(Adapters, host.adapters)
    when = container.bindings.pop(name).when
    del container[name]
    if when in ("before", "after") and all(other.when != when for other in container.bindings.values()):
        drop(host, before if when == "before" else after)
    if not container:
        del host.adapters


def drop(host: nn.Module, hook: Hook) -> None:
    """Remove our hook by identity: a handle would point at the original of a copied model."""
    for when in ("before", "after"):
        hooks, with_kwargs = hooks_of(host, when)
        for key in [key for key, value in hooks.items() if value is hook]:
            del hooks[key]
            with_kwargs.pop(key, None)


def hooks_of(module: nn.Module, when: Literal["before", "after"]) -> tuple[OrderedDict[int, Hook], dict[int, bool]]:
    """torch's own registry of a module's hooks, in the order in which they run, and which of them take keywords."""
    name = "_forward_pre_hooks" if when == "before" else "_forward_hooks"
    return vars(module)[name], vars(module)[f"{name}_with_kwargs"]


@ranked(1)
def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs:
    """Forward pre-hook: the adapters that change the host's input."""
    container = cast(Adapters, module.adapters)
    h = first_tensor(args, kwargs)
    changes: dict[str, Tensor] = {}
    for name, adapter in container.items():
        binding = container.bindings[name]
        if binding.when == "before":
            h = apply_adapter(name, cast(Adapter, adapter), binding, module, h, h, changes)
    if args and isinstance(args[0], Tensor):
        return (h, *args[1:]), kwargs
    key = next(key for key, value in kwargs.items() if isinstance(value, Tensor))
    return args, {**kwargs, key: h}


@ranked(0)
def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Forward hook: the adapters that change the host's output (of a tuple or ModelOutput, its first tensor)."""
    container = cast(Adapters, module.adapters)
    h = output_tensor(output)
    changes: dict[str, Tensor] = {}
    for name, adapter in container.items():
        binding = container.bindings[name]
        if binding.when == "after":
            read = first_tensor(args, kwargs) if binding.reads == "input" else h
            h = apply_adapter(name, cast(Adapter, adapter), binding, module, read, h, changes)
    if isinstance(output, Tensor):
        return h
    if isinstance(output, dict):  # a ModelOutput of transformers
        fields = cast(dict[str, Any], output)
        return type(fields)(**{**fields, next(iter(fields)): h})
    return type(output)((h, *output[1:]))
