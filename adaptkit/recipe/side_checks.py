"""Whether the `sides` of an adapter name what there is: modalities, spans of the stream, towers, other adapters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from adaptkit.errors import nearest
from adaptkit.kinds import ADAPTERS, Kind
from adaptkit.kinds.words import in_toml
from adaptkit.recipe.places import Finding
from adaptkit.recipe.table import Written, WrittenRecipe

Tables = dict[str, Written]
ROUTES_OF_SIDES = ("side", "fusion")
OTHER_ROUTES = ("backbone", "tokens", "query")
SPAN, MEMBER = "span:", "adapter:"
_TOWER = re.compile(r"\w+(\.\w+)?@\w+\.\w+")


def side_conflicts(name: str, recipe: WrittenRecipe) -> Iterator[Finding]:
    """Everything that is wrong with the sides of one adapter."""
    modalities, adapters = recipe.modalities, recipe.adapters
    table = adapters[name]
    kind = _kind(table)
    for side in table.words("sides"):
        yield from _side(name, side, kind, modalities, adapters)
    if kind is None or not isinstance(table["sides"], list):
        return
    path = ("adapter", name, "sides")
    least, most = kind.facts["needs_sides"]
    count = len(table["sides"])
    if count < least:
        what = f"{kind.name} needs at least {least} {'side' if least == 1 else 'sides'}."
        yield Finding(path, what, _enough(name, kind, modalities, adapters))
    if most is not None and count > most:
        limit = f"at most {most}" if most else "no side"
        yield Finding(path, f"{kind.name} takes {limit}, not {count}.", "Shorten the list.")


def _kind(table: Written) -> Kind | None:
    return ADAPTERS.kinds.get(str(table["kind"]))


def _enough(name: str, kind: Kind, modalities: Tables, adapters: Tables) -> str:
    """What to write where an adapter has too few sides."""
    if kind.facts["fuses"]:
        good = [MEMBER + other for other in adapters if not [*_member(name, other, adapters)]]
        if len(good) >= kind.facts["needs_sides"][0]:
            return f"Write sides = {in_toml(good)}."
        return 'Write adapters of the same at and layers before it, and name them here: "adapter:NAME".'
    fed = [modality for modality, table in modalities.items() if table["route"] in ROUTES_OF_SIDES]
    return f"Write sides = {in_toml(fed)}." if fed else 'Give a modality route = "side" and name it here.'


def _side(name: str, side: str, kind: Kind | None, modalities: Tables, adapters: Tables) -> Iterator[Finding]:
    path = ("adapter", name, "sides")
    is_member = side.startswith(MEMBER)
    if kind is not None and kind.facts["fuses"] != is_member:
        if is_member:
            fusing = [in_toml(name) for name, other in ADAPTERS.kinds.items() if other.facts["fuses"]]
            hint = f"Write kind = {' or '.join(fusing)}."
            yield Finding(path, f"{kind.name} does not combine adapters, so it cannot read {in_toml(side)}.", hint)
        else:
            hint = f"Write {in_toml(MEMBER + side)}." if side in adapters else 'Write "adapter:NAME".'
            yield Finding(path, f"{kind.name} combines other adapters, and {in_toml(side)} is none.", hint)
    elif is_member:
        yield from _member(name, side.removeprefix(MEMBER), adapters)
    elif side.startswith(SPAN):
        yield from _span(path, side, modalities)
    elif "@" in side:
        if not _TOWER.fullmatch(side):
            hint = 'Write "STACK@block.out", for example "vision@block.out".'
            yield Finding(path, f"{in_toml(side)} is no place of another tower.", hint)
        word, _, place = side.partition("@")
        if word in modalities and modalities[word]["route"] == "backbone":
            what = f"{in_toml(word)} is read by the backbone itself, which has no tower of that name."
            yield Finding(path, what, f"Write {in_toml(f'backbone@{place}')} for the blocks of the backbone.")
    elif side not in modalities:
        yield Finding(path, f"no modality feeds the side {in_toml(side)}.", nearest(side, modalities))
    elif modalities[side]["route"] in OTHER_ROUTES:
        route = modalities[side]["route"]
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
        if table["route"] == "tokens" or (table["route"] == "backbone" and is_sequence(table))
    ]
    route = modalities[name]["route"] if name in modalities else None
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


def is_sequence(modality: Written) -> bool:
    """Read by the backbone itself, it is a sequence of tokens that others can join."""
    return bool(getattr(modality.table, "sequence", False))


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
    kind = _kind(adapters[member])
    if kind is not None and kind.facts["fuses"]:
        yield Finding(path, f"{member} combines adapters itself.", "Name its members instead.")
    elif kind is not None and (kind.facts["reads_input"] or kind.facts["works_on"] != "stream"):
        message = f"{member} is of the kind {kind.name}, which does not add to a stream."
        yield Finding(path, message, "Combine adapters of a stream, such as bottleneck.")
    if _where(adapters[member]) != _where(adapters[name]):
        hint = f"Give [adapter.{member}] and [adapter.{name}] the same at and layers."
        yield Finding(path, f"{member} sits elsewhere.", hint)
    if order.index(member) > order.index(name):
        yield Finding(path, f"{member} is written after {name}.", f"Write [adapter.{member}] first.")
    for other in order[: order.index(name)]:
        if other != member and MEMBER + member in adapters[other].words("sides"):
            yield Finding(path, f"{member} belongs to {other} already.", "An adapter can be combined once only.")


def _where(table: Written) -> tuple[Any, ...]:
    """At which sites of which layers, however it is written."""
    at, layers = table["at"], table["layers"]
    sites = tuple(sorted(map(str, [at] if isinstance(at, str) else at))) if isinstance(at, str | list) else at
    return sites, layers
