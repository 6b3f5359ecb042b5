"""How an inserted adapter meets its host: a child module and a stateless, module-level forward hook.

The hook finds the adapters through the module it is called with, never through a closure, so a copied or unpickled
model runs its own. It sees whatever the host sees: tokens (B, T, D), maps (B, C, H, W) or (B, H, W, C), tuples,
keyword arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from adaptkit import sides
from adaptkit.adapters.base import Adapter
from adaptkit.anatomy.site import Layout

# B batch, T tokens, D width, C channels, H height, W width of a map

# Where an adapter's second input comes from: the stream itself, the stream through the host's own norm (Pfeiffer),
# the input of the host's projection (LoRA), or another place of the same branch (parallel adapters).
Reads = Literal["site", "norm", "input", "elsewhere"]


READERS = {"before": "adapter_input_readers", "after": "adapter_output_readers"}


@dataclass(frozen=True, slots=True)
class Port:
    """What the hook must know of one adapter."""

    when: Literal["before", "after"]
    reads: Reads
    layout: Layout
    columns: tuple[int, int] | None
    stack: str
    sides: tuple[str, ...]


class Adapters(nn.ModuleDict):
    """The adapters of one host, by name. A class of its own, so that ours are told from anybody else's."""


def carried(host: nn.Module) -> dict[str, Adapter]:
    """The adapters of a host by name, in order; empty where it has none."""
    found = getattr(host, "adapters", None)
    if not isinstance(found, Adapters):
        return {}
    return cast(dict[str, Adapter], dict(found.items()))


def attach(host: nn.Module, name: str, adapter: Adapter, port: Port) -> None:
    """Make the adapter a child of its host and see that the host's hook is there, once."""
    adapter.port = port
    if not hasattr(host, "adapters"):
        host.add_module("adapters", Adapters())
    cast(Adapters, host.adapters)[name] = adapter
    if port.when == "before" and before not in host._forward_pre_hooks.values():
        host.register_forward_pre_hook(before, with_kwargs=True)
    if port.when == "after" and after not in host._forward_hooks.values():
        host.register_forward_hook(after, with_kwargs=True)


def detach(host: nn.Module, name: str) -> None:
    when = carried(host)[name].port.when
    del cast(Adapters, host.adapters)[name]
    left = carried(host)
    if all(other.port.when != when for other in left.values()):
        drop(host, before if when == "before" else after)
    if not left:
        del host.adapters


def watch(source: nn.Module, adapter: Adapter, when: Literal["before", "after"]) -> None:
    """Let `source` show what goes in (or comes out) to an adapter that sits elsewhere.

    A plain list, not a registered child: the adapter's parameters belong to its host alone.
    """
    known = readers(source, when)
    if not known:
        if when == "before":
            source.register_forward_pre_hook(show_input, with_kwargs=True)
        else:
            source.register_forward_hook(show_output)
    setattr(source, READERS[when], [*known, adapter])


def unwatch(source: nn.Module, adapter: Adapter, when: Literal["before", "after"]) -> None:
    left = [reader for reader in readers(source, when) if reader is not adapter]
    if left:
        setattr(source, READERS[when], left)
        return
    delattr(source, READERS[when])
    drop(source, show_input if when == "before" else show_output)


def readers(source: nn.Module, when: Literal["before", "after"]) -> list[Adapter]:
    """The adapters elsewhere that read what goes into (or comes out of) a module."""
    return getattr(source, READERS[when], [])


def drop(host: nn.Module, hook: Callable) -> None:
    """Remove our hook by identity: a handle would point at the original of a copied model."""
    for hooks, flags in (
        (host._forward_hooks, host._forward_hooks_with_kwargs),
        (host._forward_pre_hooks, host._forward_pre_hooks_with_kwargs),
    ):
        for key in [key for key, value in hooks.items() if value is hook]:
            del hooks[key]
            flags.pop(key, None)


def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple, dict]:
    """Forward pre-hook: the adapters that change the host's input."""
    h = first_tensor(args, kwargs)
    for adapter in carried(module).values():
        if adapter.port.when == "before":
            h = run(adapter, module, h, h)
    if args and isinstance(args[0], Tensor):
        return (h, *args[1:]), kwargs
    key = next(key for key, value in kwargs.items() if isinstance(value, Tensor))
    return args, {**kwargs, key: h}


def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Forward hook: the adapters that change the host's output (of a tuple or ModelOutput, its first tensor)."""
    h = output if isinstance(output, Tensor) else output[0]
    for adapter in carried(module).values():
        if adapter.port.when == "after":
            h = run(adapter, module, first_tensor(args, kwargs) if adapter.port.reads == "input" else h, h)
    if isinstance(output, Tensor):
        return h
    if isinstance(output, dict):  # a ModelOutput of transformers
        return type(output)(**{**output, next(iter(output)): h})
    return type(output)((h, *output[1:]))


def show_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Forward pre-hook of a module whose input adapters elsewhere read."""
    for adapter in readers(module, "before"):
        adapter.shown = first_tensor(args, kwargs)


def show_output(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    """Forward hook of a module whose output adapters elsewhere read."""
    for adapter in readers(module, "after"):
        adapter.shown = output if isinstance(output, Tensor) else output[0]


def run(adapter: Adapter, module: nn.Module, z: Tensor, h: Tensor) -> Tensor:
    """One adapter on one stream, in the adapter's layout and precision; the result in the stream's own."""
    port = adapter.port
    if port.reads == "norm":
        z = module.forward(h)  # the host's own norm, without its hooks
    elif port.reads == "elsewhere":
        assert adapter.shown is not None, "the place it reads runs before its host"
        z, adapter.shown = adapter.shown, None  # dropped at once: a kept tensor would hold its graph
    given = sides.read(port.sides, port.stack)
    dtype = next(adapter.parameters()).dtype
    start, stop = port.columns or (0, h.shape[-1])
    part = h if port.columns is None else h[..., start:stop]
    stream, reading = as_tokens(part, port.layout), as_tokens(z, port.layout)
    changed = adapter(stream.to(dtype), reading.to(dtype), given).to(h.dtype)
    changed = as_layout(changed, part, port.layout)
    if port.columns is None:
        return changed
    return torch.cat([h[..., :start], changed, h[..., stop:]], dim=-1)


def first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The tensor a module works on: its first argument, which some models pass by keyword."""
    if args and isinstance(args[0], Tensor):
        return args[0]
    return next(value for value in kwargs.values() if isinstance(value, Tensor))


def as_tokens(x: Tensor, layout: Layout) -> Tensor:
    """A map as a sequence: (B, C, H, W) or (B, H, W, C) -> (B, H·W, C)."""
    if layout == "bchw" and x.dim() == 4:
        return x.flatten(2).transpose(1, 2)
    return x.flatten(1, 2) if layout == "bhwd" and x.dim() == 4 else x


def as_layout(tokens: Tensor, like: Tensor, layout: Layout) -> Tensor:
    """Undo `as_tokens`."""
    if layout == "bchw" and like.dim() == 4:
        return tokens.transpose(1, 2).unflatten(2, like.shape[2:])
    return tokens.unflatten(1, like.shape[1:3]) if layout == "bhwd" and like.dim() == 4 else tokens
