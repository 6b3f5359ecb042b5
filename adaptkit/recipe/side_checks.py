"""Whether the `sides` of an adapter name what there is: modalities, spans of the stream, towers, other adapters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from adaptkit.recipe.places import Finding
from adaptkit.recipe.signatures import AdapterSignature, adapter_signatures
from adaptkit.recipe.words import in_toml
from adaptkit.registry import nearest

Tables = Mapping[str, Mapping[str, Any]]
ROUTES_OF_SIDES = ("side", "fusion")
OTHER_ROUTES = ("backbone", "tokens", "query")
SPAN, MEMBER = "span:", "adapter:"
_TOWER = re.compile(r"\w+(\.\w+)?@\w+\.\w+")


def words_of(table: Mapping[str, Any], key: str) -> list[str]:
    """A list of strings; empty where it is something else."""
    value = table.get(key, [])
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def side_conflicts(name: str, modalities: Tables, adapters: Tables) -> Iterator[Finding]:
    """Everything that is wrong with the sides of one adapter."""
    table = adapters[name]
    signature = _signature(table)
    for side in words_of(table, "sides"):
        yield from _side(name, side, signature, modalities, adapters)
    if signature is None or not isinstance(table.get("sides", []), list):
        return
    path = ("adapter", name, "sides")
    least, most = signature.needs_sides
    count = len(table.get("sides", []))
    if count < least:
        what = f"{signature.kind} needs at least {least} {'side' if least == 1 else 'sides'}."
        yield Finding(path, what, _enough(name, signature, modalities, adapters))
    if most is not None and count > most:
        limit = f"at most {most}" if most else "no side"
        yield Finding(path, f"{signature.kind} takes {limit}, not {count}.", "Shorten the list.")


def _signature(table: Mapping[str, Any]) -> AdapterSignature | None:
    return adapter_signatures().get(str(table.get("kind")))


def _enough(name: str, signature: AdapterSignature, modalities: Tables, adapters: Tables) -> str:
    """What to write where an adapter has too few sides."""
    if signature.fuses:
        good = [MEMBER + other for other in adapters if not [*_member(name, other, adapters)]]
        if len(good) >= signature.needs_sides[0]:
            return f"Write sides = {in_toml(good)}."
        return 'Write adapters of the same at and layers before it, and name them here: "adapter:NAME".'
    fed = [modality for modality, table in modalities.items() if table.get("route") in ROUTES_OF_SIDES]
    return f"Write sides = {in_toml(fed)}." if fed else 'Give a modality route = "side" and name it here.'


def _side(
    name: str, side: str, signature: AdapterSignature | None, modalities: Tables, adapters: Tables
) -> Iterator[Finding]:
    path = ("adapter", name, "sides")
    is_member = side.startswith(MEMBER)
    if signature is not None and signature.fuses != is_member:
        if is_member:
            fusing = [in_toml(kind) for kind, other in adapter_signatures().items() if other.fuses]
            hint = f"Write kind = {' or '.join(fusing)}."
            yield Finding(path, f"{signature.kind} does not combine adapters, so it cannot read {in_toml(side)}.", hint)
        else:
            hint = f"Write {in_toml(MEMBER + side)}." if side in adapters else 'Write "adapter:NAME".'
            yield Finding(path, f"{signature.kind} combines other adapters, and {in_toml(side)} is none.", hint)
    elif is_member:
        yield from _member(name, side.removeprefix(MEMBER), adapters)
    elif side.startswith(SPAN):
        yield from _span(path, side, modalities)
    elif "@" in side:
        if not _TOWER.fullmatch(side):
            hint = 'Write "STACK@block.out", for example "vision@block.out".'
            yield Finding(path, f"{in_toml(side)} is no place of another tower.", hint)
    elif side not in modalities:
        yield Finding(path, f"no modality feeds the side {in_toml(side)}.", nearest(side, modalities))
    elif modalities[side].get("route") in OTHER_ROUTES:
        route = modalities[side].get("route")
        hint = f'Write route = "side" in [modality.{side}].'
        if not [*_span(path, SPAN + side, modalities)]:
            hint = f'Write {in_toml(SPAN + side)} for its tokens in the stream, or route = "side".'
        yield Finding(path, f"{in_toml(side)} is routed {in_toml(route)}, where no adapter can read it.", hint)


def _span(path: tuple[str, ...], side: str, modalities: Tables) -> Iterator[Finding]:
    """A span is a modality that shares the backbone's sequence with another one."""
    name = side.removeprefix(SPAN)
    parts = [
        modality
        for modality, table in modalities.items()
        if table.get("route") == "tokens" or (table.get("route"), table.get("kind")) == ("backbone", "text")
    ]
    route = modalities[name].get("route") if name in modalities else None
    if name not in modalities:
        yield Finding(path, f"no modality feeds the side {in_toml(side)}.", nearest(name, parts or modalities))
    elif name not in parts and route in (*ROUTES_OF_SIDES, *OTHER_ROUTES):
        instead = f'route = "tokens" in [modality.{name}]'
        hint = f"Write {in_toml(name)}, or {instead}." if route in ROUTES_OF_SIDES else f"Write {instead}."
        message = f"{in_toml(name)} is routed {in_toml(route)}, so it is no part of the backbone's sequence."
        yield Finding(path, message, hint)
    elif parts == [name]:
        hint = 'Give another modality route = "tokens".'
        yield Finding(path, f"{in_toml(name)} is the backbone's whole sequence, not a span of it.", hint)


def _member(name: str, member: str, adapters: Tables) -> Iterator[Finding]:
    """A member sits where the adapter sits that combines it, stands before it, and belongs to no other."""
    path, order = ("adapter", name, "sides"), [*adapters]
    others = [other for other in order if other != name]
    if member == name:
        yield Finding(path, f"{name} cannot combine itself.", "Name other adapters.")
        return
    if member not in adapters:
        hint = nearest(member, others) if others else f"Write a table [adapter.{member}]."
        yield Finding(path, f"there is no adapter {in_toml(member)}.", hint)
        return
    signature = _signature(adapters[member])
    if signature is not None and signature.fuses:
        yield Finding(path, f"{member} combines adapters itself.", "Name its members instead.")
    elif signature is not None and (signature.reads_input or signature.works_on != "stream"):
        message = f"{member} is of the kind {signature.kind}, which does not add to a stream."
        yield Finding(path, message, "Combine adapters of a stream, such as bottleneck.")
    if _where(adapters[member]) != _where(adapters[name]):
        hint = f"Give [adapter.{member}] and [adapter.{name}] the same at and layers."
        yield Finding(path, f"{member} sits elsewhere.", hint)
    if order.index(member) > order.index(name):
        yield Finding(path, f"{member} is written after {name}.", f"Write [adapter.{member}] first.")
    for other in order[: order.index(name)]:
        if other != member and MEMBER + member in words_of(adapters[other], "sides"):
            yield Finding(path, f"{member} belongs to {other} already.", "An adapter can be combined once only.")


def _where(table: Mapping[str, Any]) -> tuple[Any, ...]:
    """At which sites of which layers, however it is written."""
    at, layers = table.get("at"), table.get("layers", "all")
    sites = tuple(sorted(map(str, [at] if isinstance(at, str) else at))) if isinstance(at, str | list) else at
    return sites, layers
