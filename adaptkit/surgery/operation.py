"""Surgery: put adapters into a model and take them out again, leaving the backbone bit for bit as it was.

A graft is a child module plus a stateless, module-level hook. The adapter lives on its host as
`host.adapters.<name>`, so every key of the backbone's state dict stays; the hook finds it through the module it is
called with, so copies and pickles of the model run their own adapters. Knows no recipe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple, cast

import torch
from torch import nn

from adaptkit.adapters.base import ADAPTERS, Adapter
from adaptkit.anatomy.site import Site
from adaptkit.errors import SiteError
from adaptkit.surgery import counting, expert_weights, lengthening, positions, prefixing
from adaptkit.surgery.applying import HERE, Binding, Reads, SideBinding
from adaptkit.surgery.capturing import capture, capture_block, place_of, release, release_block
from adaptkit.surgery.freezing import base_parameters, freeze, is_there, thaw
from adaptkit.surgery.graft import MEMBER, SPAN, Graft, side_key
from adaptkit.surgery.hooks import Adapters, adapters_of, attach, bindings, detach
from adaptkit.surgery.hosts import check_moving
from adaptkit.surgery.instantiating import check_hosts, instantiate

# How adapters are bound to what is no stream: the input sequence of a stack, keys and values, the weights of experts.
JOINS = {"sequence": lengthening, "attention": prefixing, "experts": expert_weights}


class Reading(NamedTuple):
    """An adapter that reads another module than its host."""

    source: str
    when: Literal["before", "after"]
    host: str
    name: str


class Captured(NamedTuple):
    """A block that an adapter reads: of which model ("" is the one it is in), and whether before its own adapters."""

    model: str
    path: str
    returned: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """What surgery did, by name, so that it can be undone on the model or on any copy of it.

    Attributes:
        grafts: (path of the host, name of the adapter), in the order of insertion.
        readings: the adapters that read elsewhere.
        captured: the blocks of towers that adapters read, once for each of them.
        insertion: its number, by which the model's parameters know what it found; 0 for none.
        restorable: a copy of every parameter that may move was kept.
    """

    grafts: tuple[tuple[str, str], ...]
    readings: tuple[Reading, ...] = ()
    captured: tuple[Captured, ...] = ()
    insertion: int = 0
    restorable: bool = True


def insert(
    model: nn.Module,
    grafts: Iterable[Graft],
    *,
    unfrozen: Iterable[str] = (),
    seed: int = 0,
    restorable: bool = True,
    towers: Mapping[str, nn.Module] = MappingProxyType({}),
) -> Receipt:
    """Graft adapters into a model and freeze the rest of it.

    All checks precede the first mutation. The adapters' initial values depend on `seed` alone.

    Args:
        model: the backbone; nothing of it is copied or renamed.
        grafts: what to insert where, as planned (`make_plan(recipe).grafts`).
        unfrozen: names of the model's own parameters that stay trainable.
        seed: of the adapters' initial values.
        restorable: keep a copy of the unfrozen parameters, so that `remove` can put them back after training.
        towers: the other models whose blocks these adapters read, by name (`Site.model`; "backbone" for the backbone).

    Returns:
        A receipt for `remove`.

    Raises:
        SiteError: the model is compiled (hooks added afterwards are silently ignored), a host does not exist, or
            it already carries an adapter of this name, or keeps its weight as codes that the adapter would have to
            read or that are to be trained.
    """
    planned, kept = tuple(grafts), frozenset(unfrozen)
    check_insertable(model, planned, towers)
    unknown = sorted(kept - base_parameters(model).keys())
    if unknown:
        raise SiteError(f"the model has no parameter {unknown[0]!r} to unfreeze.")
    check_moving(model, kept)
    check_hosts(model, planned)
    adapters = instantiate(model, planned, seed)
    held = held_by(planned)

    number = freeze(model, kept, restorable=restorable)
    readings: list[Reading] = []
    captured: list[Captured] = []
    for graft, adapter in zip(planned, adapters, strict=True):
        attach(model.get_submodule(graft.site.path), graft.child, adapter, binding_of(graft, adapter, held))
        if graft.site.when in JOINS:
            JOINS[graft.site.when].attach(model, graft.site.path, graft.child)
        if adapter.reads_earlier:
            counting.attach(model, graft.site.path, graft.child)
        if adapter.moves_positions:
            positions.attach(model, graft.site.path, graft.child)
        for place in (place for place in graft.reads if not is_here(place, graft)):
            capture(model.get_submodule(place.path), place.path, adapter, when_read(place))
            readings.append(Reading(place.path, when_read(place), graft.site.path, graft.child))
        for block in graft.towers.values():
            source, returned = graft.source_of(block), graft.returned(block)
            capture_block((towers[source] if source else model).get_submodule(block.path), block, returned=returned)
            captured.append(Captured(source, block.path, returned))
    hosts = tuple((graft.site.path, graft.child) for graft in planned)
    return Receipt(hosts, tuple(readings), tuple(captured), number, restorable or not kept)


def remove(model: nn.Module, receipt: Receipt, *, towers: Mapping[str, nn.Module] = MappingProxyType({})) -> None:
    """Undo an insertion: modules, hooks, keys, values and `requires_grad` are again what they were without it.

    Insertions leave in any order: the last one out leaves the model as the first one found it, bit for bit.

    Args:
        model: what `insert` was given, or a copy of it.
        receipt: what `insert` returned.
        towers: as for `insert`, where the adapters read blocks of other models.

    Raises:
        SiteError: the model does not carry what the receipt lists, or its own parameters moved and no copy of them
            was kept, or a tower is missing. Nothing is changed then.
    """
    lacking = sorted({each.model for each in receipt.captured} - {"", *towers})
    if lacking:
        raise SiteError(
            f"the adapters read blocks of {', '.join(lacking)}, and that model was not given.",
            hint="Pass towers={name: model}; of an adapted model, towers=model.models.",
        )
    for path, name in receipt.grafts:
        if name not in adapters_of(model.get_submodule(path)):
            raise SiteError(f"{path} carries no adapter {name!r}.", hint="Was it removed already?")
    if not is_there(model, receipt.insertion):
        raise SiteError("this insertion is not in the model.", hint="Was it removed or merged already?")
    if not receipt.restorable:
        raise SiteError(
            "the backbone's own parameters were trained, and no copy of their values was kept.",
            hint="Load the backbone again, or insert with restorable=True.",
        )
    take_out(model, receipt, towers)
    thaw(model, receipt.insertion)


def take_out(model: nn.Module, receipt: Receipt, towers: Mapping[str, nn.Module] = MappingProxyType({})) -> None:
    """The modules and hooks of an insertion; the model's own parameters stay what they are."""
    for reading in receipt.readings:
        adapter = adapters_of(model.get_submodule(reading.host))[reading.name]
        release(model.get_submodule(reading.source), reading.source, adapter, reading.when)
    for tower, path, returned in receipt.captured:
        release_block((towers[tower] if tower else model).get_submodule(path), returned=returned)
    for path, name in receipt.grafts:
        binding = bindings(model.get_submodule(path))[name]
        if binding.when in JOINS:
            JOINS[binding.when].detach(model, path, name)
        if binding.earlier:
            counting.detach(model, path)
        if binding.moved:
            positions.detach(model, path, name)
        detach(model.get_submodule(path), name)


def check_insertable(model: nn.Module, grafts: Sequence[Graft], towers: Mapping[str, nn.Module]) -> None:
    """Raise SiteError where grafts cannot go into a model, with weights or without.

    Args:
        model: the backbone or a tower.
        grafts: all that go into it.
        towers: the other models whose blocks they read, by name.
    """
    modules, reserved = named_modules(model), Adapters()
    for name, module in modules.items():
        compiled = isinstance(module, torch._dynamo.OptimizedModule)  # pyright: ignore[reportPrivateUsage]
        if compiled or getattr(module, "_compiled_call_impl", None) is not None:
            raise SiteError(
                f"the model is compiled already ({name or 'root'}): surgery after compilation is silently ignored.",
                hint="Insert first, then call torch.compile.",
            )
    taken: set[tuple[str, str]] = set()
    for graft in grafts:
        for site in (graft.site, *graft.reads, *graft.towers.values()):
            there = modules if site.model == graft.model else named_modules(towers.get(graft.source_of(site)))
            if site.path not in there:
                raise SiteError(f"the model has no module {site.path!r} (site {site.full_name}).")
        if not graft.child or "." in graft.child or hasattr(reserved, graft.child):
            raise SiteError(
                f"an adapter cannot be called {graft.adapter!r}.",
                hint="Choose a name without dots that is no attribute of torch's modules (such as `keys` or `train`).",
            )
        host, place = modules[graft.site.path], (graft.site.path, graft.child)
        if not isinstance(getattr(host, "adapters", Adapters()), Adapters):
            raise SiteError(f"{graft.site.path} has an attribute `adapters` of its own; surgery needs that name.")
        if place in taken or graft.child in adapters_of(host):
            raise SiteError(
                f"{graft.site.path} already carries an adapter {graft.adapter!r} ({graft.site.full_name}).",
                where=f"adapter.{graft.adapter}.at",
                hint="Sites that share a module need adapters of different names.",
            )
        if graft.site.when == "attention":
            prefixing.check(host)
        check_members(graft, grafts, taken)
        taken.add(place)


def named_modules(model: nn.Module | None) -> dict[str, nn.Module]:
    return {} if model is None else dict(cast(Iterable[tuple[str, nn.Module]], model.named_modules()))


def check_members(graft: Graft, grafts: Sequence[Graft], taken: set[tuple[str, str]]) -> None:
    """What a combination combines comes before it on the same side of the same host, and only there."""
    for member in graft.members:
        where = f"adapter.{graft.adapter} at {graft.site.full_name}"
        if (graft.site.path, member) not in taken:
            raise SiteError(
                f"{where} combines {member!r}, which is not there before it.",
                where=f"adapter.{graft.adapter}",
                hint=f"Give [adapter.{member}] the same at and layers, and write it first.",
            )
        other = next(g for g in grafts if (g.site.path, g.child) == (graft.site.path, member))
        if other.site.when != graft.site.when or ADAPTERS.named(other.kind).reads_input:
            raise SiteError(
                f"{where} cannot combine {member!r} at {other.site.full_name}.",
                where=f"adapter.{graft.adapter}",
                hint="Both must work on the stream at the same site.",
            )


def when_read(place: Site) -> Literal["before", "after"]:
    assert place.when in ("before", "after"), "only places on the stream are read"
    return place.when


def is_here(place: Site, graft: Graft) -> bool:
    """A ladder at the end of a stack without a final norm sits on the last block, which it also reads."""
    return (place.path, place.when) == (graft.site.path, graft.site.when)


def binding_of(graft: Graft, adapter: Adapter, held: frozenset[tuple[str, str]]) -> Binding:
    site = graft.site
    reads: Reads = "site"
    if adapter.reads_input:
        reads = "input"
    elif graft.reads:
        reads = "elsewhere"
    elif site.norm:
        reads = "norm"
    return Binding(
        "before" if adapter.changes_input else site.when,
        reads,
        site.layout,
        site.columns,
        site.parameter,
        site.stack,
        tuple(side_binding_of(graft, side) for side in graft.sides),
        tuple((HERE if is_here(other, graft) else other.path, other.layout) for other in graft.reads),
        own_layout=adapter.reads_input,
        causal=site.causal,
        earlier=adapter.reads_earlier,
        moved=adapter.moves_positions,
        held=(site.path, graft.child) in held,
    )


def side_binding_of(graft: Graft, side: str) -> SideBinding:
    key = side_key(side)
    if side in graft.towers:
        source = graft.towers[side]
        return SideBinding(key, "tower", place_of(source, returned=graft.returned(source)))
    if side.startswith(SPAN):
        return SideBinding(key, "span", side.removeprefix(SPAN))
    if side.startswith(MEMBER):
        return SideBinding(key, "adapter", side.removeprefix(MEMBER))
    return SideBinding(key, "modality", side)


def held_by(grafts: Iterable[Graft]) -> frozenset[tuple[str, str]]:
    """(path of the host, adapter) of those whose change another adapter of the same host combines."""
    return frozenset((graft.site.path, member) for graft in grafts for member in graft.members)
