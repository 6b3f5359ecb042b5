"""Whether the tables of a recipe agree with each other.

The checks read the recipe as it was written, before its types are known to be right, so that all mistakes can
be told at once. Where a value has the wrong type they stay silent: that mistake is told already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from adaptkit.recipe.fusion_checks import fusion_conflicts, prefix_conflicts
from adaptkit.recipe.modality_checks import modality_conflicts
from adaptkit.recipe.optimizers import optimizer_keywords, optimizer_names
from adaptkit.recipe.places import Finding
from adaptkit.recipe.side_checks import OTHER_ROUTES, ROUTES_OF_SIDES, Tables, side_conflicts, words_of
from adaptkit.recipe.signatures import adapter_signatures
from adaptkit.recipe.table import NAME_PATTERN
from adaptkit.recipe.task_checks import drop_conflicts, task_conflicts
from adaptkit.recipe.words import in_toml
from adaptkit.registry import nearest


def conflicts(document: Mapping[str, Any]) -> list[Finding]:
    """Everything in which the tables of the recipe contradict each other."""
    modalities, adapters, tasks = (_tables(document, key) for key in ("modality", "adapter", "task"))
    return [
        *_names(document),
        *_backbone_input(document, modalities),
        *(finding for name, table in modalities.items() for finding in modality_conflicts(name, table)),
        *(finding for name in adapters for finding in _adapter(name, modalities, adapters)),
        *_frozen_fresh(document, adapters),
        *_unread_sides(modalities, adapters),
        *fusion_conflicts(document, modalities, adapters),
        *prefix_conflicts(document, modalities),
        *task_conflicts(modalities, tasks),
        *drop_conflicts(document, modalities),
        *_optimizer(document),
        *_schedule(document),
    ]


def _tables(document: Mapping[str, Any], key: str) -> Tables:
    """The named tables under a key, leaving out whatever is none."""
    named = document.get(key)
    return {n: t for n, t in named.items() if isinstance(t, Mapping)} if isinstance(named, Mapping) else {}


def _names(document: Mapping[str, Any]) -> Iterator[Finding]:
    for key in ("modality", "adapter", "task"):
        named = document.get(key)
        if not isinstance(named, Mapping):
            continue
        if not named and key != "adapter":
            yield Finding((key,), f"a recipe needs at least one {key}.", f"Write a table [{key}.NAME].")
        for name in named:
            if not re.fullmatch(NAME_PATTERN, name):
                yield Finding((key, name), "names have letters, digits and '_', and no digit first.")


def _backbone_input(document: Mapping[str, Any], modalities: Tables) -> Iterator[Finding]:
    """The backbone reads at least one modality, or vectors in place of its words, and each kind at most once."""
    native = [(name, table.get("kind")) for name, table in modalities.items() if table.get("route") == "backbone"]
    routes = [table.get("route") for table in modalities.values()]
    feeds = native or "tokens" in routes
    if modalities and not feeds and all(route in (*ROUTES_OF_SIDES, *OTHER_ROUTES) for route in routes):
        yield Finding(
            ("modality",), "no modality feeds the backbone.", 'Write route = "backbone" for its native input.'
        )
    for index, (name, kind) in enumerate(native):
        earlier = [other for other, its_kind in native[:index] if its_kind == kind]
        if earlier:
            hint = f'{earlier[0]} is it already; write route = "tokens" or "side".'
            yield Finding(("modality", name, "route"), f"the backbone reads only one {kind}.", hint)


def _adapter(name: str, modalities: Tables, adapters: Tables) -> Iterator[Finding]:
    table = adapters[name]
    for key in ("at", "sides"):
        words = words_of(table, key)
        for word in sorted({word for word in words if words.count(word) > 1}):
            yield Finding(("adapter", name, key), f"{in_toml(word)} is named twice.")
    yield from side_conflicts(name, modalities, adapters)
    signature = adapter_signatures().get(str(table.get("kind")))
    if signature is None:
        return
    if table.get("per_task") in ("half_shared_up", "half_shared_down") and not signature.halves:
        hint = 'Write per_task = "single" or "multiple".'
        yield Finding(("adapter", name, "per_task"), f"{signature.kind} has no down and up half to share.", hint)


def _frozen_fresh(document: Mapping[str, Any], adapters: Tables) -> Iterator[Finding]:
    """An adapter that starts as the identity and stays so."""
    for name, table in adapters.items():
        signature = adapter_signatures().get(str(table.get("kind")))
        if signature is None or not signature.identity or signature.fuses:
            continue
        fresh = table.get("init_from") is None and document.get("init_from") is None
        if table.get("train") is False and fresh and table.get("init", "identity") == "identity":
            hint = "Write init_from, or leave train out."
            yield Finding(("adapter", name, "train"), "a fresh adapter that is frozen changes nothing.", hint)


def _unread_sides(modalities: Tables, adapters: Tables) -> Iterator[Finding]:
    """A modality routed to adapters that no adapter reads would do nothing, silently."""
    read = {side for table in adapters.values() for side in words_of(table, "sides")}
    read |= {side.partition("@")[0].partition(".")[0] for side in read if "@" in side}  # blocks of its tower
    for name, table in modalities.items():
        if table.get("route") == "side" and name not in read:
            hint = f"Write sides = [{in_toml(name)}] in an adapter, or give it another route."
            yield Finding(("modality", name, "route"), "no adapter reads this side.", hint)


def _of_train(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A table of [train]; empty where it is left out or something else."""
    train = document.get("train")
    table = train.get(key) if isinstance(train, Mapping) else None
    return table if isinstance(table, Mapping) else {}


def _optimizer(document: Mapping[str, Any]) -> Iterator[Finding]:
    """The optimizer exists in the installed torch, and takes the keywords given."""
    table = _of_train(document, "optimizer")
    name = str(table.get("name", "adamw")).lower()
    keywords = optimizer_keywords(name)
    if not keywords:
        known = optimizer_names()
        if known:
            path = ("train", "optimizer", "name")
            yield Finding(path, f"torch.optim has no {in_toml(name)} that fits.", nearest(name, known))
        return
    for key, value in table.items():
        ignorable = key == "name" or (key == "weight_decay" and value == 0)
        if key not in keywords and not ignorable:
            path = ("train", "optimizer", key)
            yield Finding(path, f"{name} has no such keyword.", nearest(key, keywords))


def _schedule(document: Mapping[str, Any]) -> Iterator[Finding]:
    """`factor` and `patience` would do nothing in any other schedule."""
    schedule = _of_train(document, "schedule")
    if schedule.get("name") == "plateau":
        return
    for key in ("factor", "patience"):
        if schedule.get(key) is not None:
            hint = f'Write name = "plateau", or leave {key} out.'
            yield Finding(("train", "schedule", key), 'belongs to the schedule "plateau".', hint)
