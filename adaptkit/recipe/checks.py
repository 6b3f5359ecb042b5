"""Whether the tables of a recipe agree with each other.

The checks read the recipe as it was written, before its types are known to be right, so that all mistakes can
be told at once. Where a value has the wrong type they stay silent: that mistake is told already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from adaptkit.recipe.optimizers import optimizer_keywords, optimizer_names
from adaptkit.recipe.places import Finding
from adaptkit.recipe.side_checks import OTHER_ROUTES, ROUTES_OF_SIDES, Tables, side_conflicts, words_of
from adaptkit.recipe.signatures import adapter_signatures
from adaptkit.recipe.table import NAME_PATTERN
from adaptkit.recipe.words import in_toml
from adaptkit.registry import nearest


def conflicts(document: Mapping[str, Any]) -> list[Finding]:
    """Everything in which the tables of the recipe contradict each other."""
    modalities, adapters, tasks = (_tables(document, key) for key in ("modality", "adapter", "task"))
    return [
        *_names(document),
        *_backbone_input(document, modalities),
        *(finding for name, table in modalities.items() for finding in _modality(name, table)),
        *(finding for name in adapters for finding in _adapter(name, modalities, adapters)),
        *_unread_sides(modalities, adapters),
        *(finding for name, table in tasks.items() for finding in _task(name, table)),
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
    """The backbone reads at least one modality, and each kind at most once."""
    native = [(name, table.get("kind")) for name, table in modalities.items() if table.get("route") == "backbone"]
    routes = [table.get("route") for table in modalities.values()]
    if modalities and not native and all(route in (*ROUTES_OF_SIDES, *OTHER_ROUTES) for route in routes):
        yield Finding(
            ("modality",), "no modality feeds the backbone.", 'Write route = "backbone" for its native input.'
        )
    for index, (name, kind) in enumerate(native):
        earlier = [other for other, its_kind in native[:index] if its_kind == kind]
        if earlier:
            hint = f'{earlier[0]} is it already; write route = "tokens" or "side".'
            yield Finding(("modality", name, "route"), f"the backbone reads only one {kind}.", hint)


def _modality(name: str, table: Mapping[str, Any]) -> Iterator[Finding]:
    kind, route = table.get("kind"), table.get("route")
    if kind == "text" and route in ("tokens", *ROUTES_OF_SIDES):
        yield Finding(("modality", name, "route"), "text can only feed the backbone.", 'Write route = "backbone".')
    if kind == "features" and route == "backbone":
        hint = 'Write route = "tokens" (its input sequence), "side" (adapters) or "fusion".'
        yield Finding(("modality", name, "route"), "features are no native input of a backbone.", hint)
    if kind == "image" and route == "backbone" and table.get("encoder", "pixels") != "pixels":
        hint = 'Write encoder = "pixels", or route = "tokens" or "side".'
        yield Finding(("modality", name, "encoder"), "a backbone makes its own tokens of an image.", hint)
    dropout = table.get("modality_dropout", 0)
    if isinstance(dropout, int | float) and dropout > 0 and table.get("missing", "error") == "error":
        hint = 'Write missing = "zero", "mean" or "learned".'
        yield Finding(("modality", name, "modality_dropout"), "nothing is said to stand in for a dropped value.", hint)


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
    does_nothing = signature.identity and not signature.fuses and table.get("init", "identity") == "identity"
    if table.get("train") is False and table.get("init_from") is None and does_nothing:
        hint = "Write init_from, or leave train out."
        yield Finding(("adapter", name, "train"), "a fresh adapter that is frozen changes nothing.", hint)
    if table.get("per_task") in ("half_shared_up", "half_shared_down") and not signature.halves:
        hint = 'Write per_task = "single" or "multiple".'
        yield Finding(("adapter", name, "per_task"), f"{signature.kind} has no down and up half to share.", hint)


def _unread_sides(modalities: Tables, adapters: Tables) -> Iterator[Finding]:
    """A modality routed to adapters that no adapter reads would do nothing, silently."""
    read = {side for table in adapters.values() for side in words_of(table, "sides")}
    for name, table in modalities.items():
        if table.get("route") == "side" and name not in read:
            hint = f"Write sides = [{in_toml(name)}] in an adapter, or give it another route."
            yield Finding(("modality", name, "route"), "no adapter reads this side.", hint)


def _task(name: str, table: Mapping[str, Any]) -> Iterator[Finding]:
    labels = words_of(table, "labels")
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        yield Finding(("task", name, "labels"), f"{in_toml(label)} is listed twice.")
    for key in ("class_weight", "pos_weight"):
        weights = table.get(key)
        if isinstance(weights, list) and labels and len(weights) != len(labels):
            yield Finding(("task", name, key), f"{len(weights)} weights for {len(labels)} labels.")
    head = table.get("head")
    if isinstance(head, Mapping) and head.get("hidden") is not None and head.get("kind", "linear") == "linear":
        hint = 'Write kind = "mlp", or leave hidden out.'
        yield Finding(("task", name, "head", "hidden"), "a linear head has no hidden layer.", hint)


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
