"""Surgery: put adapters into a model and take them out again, leaving the backbone bit for bit as it was.

A graft is a child module plus a stateless, module-level hook. The adapter lives on its host as
`host.adapters.<name>`, so every key of the backbone's state dict stays; the hook finds it through the module it is
called with, so copies and pickles of the model run their own adapters. Knows no recipe.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import nn

from adaptkit.adapters.base import Adapter
from adaptkit.errors import SiteError
from adaptkit.surgery.graft import Graft
from adaptkit.surgery.hooks import Adapters, Port, Reads, attach, carried, detach, unwatch, watch


class Reader(NamedTuple):
    """An adapter that reads another module than its host."""

    source: str
    when: Literal["before", "after"]
    host: str
    name: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What surgery did, by name, so that it can be undone on the model or on any copy of it.

    Attributes:
        grafts: (path of the host, name of the adapter), in the order of insertion.
        readers: the adapters that read elsewhere.
        trainable: names of the backbone's parameters that required a gradient before.
    """

    grafts: tuple[tuple[str, str], ...]
    readers: tuple[Reader, ...]
    trainable: frozenset[str]


def insert(model: nn.Module, grafts: Iterable[Graft], *, unfrozen: Iterable[str] = (), seed: int = 0) -> Receipt:
    """Graft adapters into a model and freeze the rest of it.

    All checks precede the first mutation. The adapters' initial values depend on `seed` alone.

    Args:
        model: the backbone; nothing of it is copied or renamed.
        grafts: what to insert where, as planned (`make_plan(recipe).grafts`).
        unfrozen: names of the model's own parameters that stay trainable.
        seed: of the adapters' initial values.

    Returns:
        A receipt for `remove`.

    Raises:
        SiteError: the model is compiled (hooks added afterwards are silently ignored), a host does not exist, or
            it already carries an adapter of this name.
    """
    planned, kept = tuple(grafts), frozenset(unfrozen)
    own = base_parameters(model)
    check_insertable(model, planned)
    if kept - own.keys():
        raise SiteError(f"the model has no parameter {sorted(kept - own.keys())[0]!r} to unfreeze.")
    adapters = grow(model, planned, seed)

    trainable = frozenset(name for name, parameter in own.items() if parameter.requires_grad)
    for name, parameter in own.items():
        parameter.requires_grad_(name in kept)
    readers = []
    for graft, adapter in zip(planned, adapters, strict=True):
        host = model.get_submodule(graft.site.path)
        attach(host, graft.child, adapter, port_of(graft, adapter))
        if graft.read is not None:
            watch(model.get_submodule(graft.read.path), adapter, graft.read.when)
            readers.append(Reader(graft.read.path, graft.read.when, graft.site.path, graft.child))
    return Receipt(tuple((g.site.path, g.child) for g in planned), tuple(readers), trainable)


def remove(model: nn.Module, receipt: Receipt) -> None:
    """Undo an insertion: modules, hooks, keys and `requires_grad` are again what they were.

    Raises:
        SiteError: the model does not carry what the receipt lists. Nothing is changed then.
    """
    for path, name in receipt.grafts:
        if name not in carried(model.get_submodule(path)):
            raise SiteError(f"{path} carries no adapter {name!r}.", hint="Was it removed already?")
    for reader in receipt.readers:
        adapter = carried(model.get_submodule(reader.host))[reader.name]
        unwatch(model.get_submodule(reader.source), adapter, reader.when)
    for path, name in receipt.grafts:
        detach(model.get_submodule(path), name)
    for name, parameter in base_parameters(model).items():
        parameter.requires_grad_(name in receipt.trainable)


def base_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The model's own parameters: those of adapters inserted earlier are left alone."""
    grafted = {id(p) for module in model.modules() if isinstance(module, Adapters) for p in module.parameters()}
    return {name: p for name, p in model.named_parameters() if id(p) not in grafted}


def check_insertable(model: nn.Module, grafts: tuple[Graft, ...]) -> None:
    modules = dict(model.named_modules())
    for name, module in modules.items():
        if isinstance(module, torch._dynamo.OptimizedModule) or module._compiled_call_impl is not None:
            raise SiteError(
                f"the model is compiled already ({name or 'root'}): surgery after compilation is silently ignored.",
                hint="Insert first, then call torch.compile.",
            )
    taken: set[tuple[str, str]] = set()
    for graft in grafts:
        for site in filter(None, (graft.site, graft.read)):
            if site.path not in modules:
                raise SiteError(f"the model has no module {site.path!r} (site {site.full_name}).")
        host, place = modules[graft.site.path], (graft.site.path, graft.child)
        if not isinstance(getattr(host, "adapters", Adapters()), Adapters):
            raise SiteError(f"{graft.site.path} has an attribute `adapters` of its own; surgery needs that name.")
        if place in taken or graft.child in carried(host):
            raise SiteError(
                f"{graft.site.path} already carries an adapter {graft.adapter!r} ({graft.site.full_name}).",
                hint="Sites that share a module need adapters of different names.",
            )
        taken.add(place)


def grow(model: nn.Module, grafts: tuple[Graft, ...], seed: int) -> list[Adapter]:
    """Build every adapter before the model is touched, each beside its host's weights."""
    fallback = next(model.parameters(), torch.empty(0)).device
    adapters = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for graft in grafts:
            device = next(model.get_submodule(graft.site.path).parameters(), torch.empty(0, device=fallback)).device
            # Drawn on the CPU, so that a seed means the same values on every device.
            with torch.device("meta" if device.type == "meta" else "cpu"):
                adapter = graft.build()
            adapters.append(adapter.to(device))
    return adapters


def port_of(graft: Graft, adapter: Adapter) -> Port:
    site = graft.site
    reads: Reads = "site"
    if adapter.reads_input:
        reads = "input"
    elif graft.read is not None:
        reads = "elsewhere"
    elif site.norm:
        reads = "norm"
    return Port(site.when, reads, site.layout, site.columns, site.stack, tuple(graft.sides))
