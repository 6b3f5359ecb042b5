"""Whether tasks agree with their heads and modalities, and what `[data] drop` leaves out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adaptkit.recipe.places import Finding
from adaptkit.recipe.side_checks import Tables, words_of
from adaptkit.recipe.words import in_toml
from adaptkit.registry import nearest


def task_conflicts(modalities: Tables, tasks: Tables) -> Iterator[Finding]:
    """Everything in which the tasks contradict themselves and the modalities."""
    for name, table in tasks.items():
        yield from _labels(name, table)
        if table.get("kind") == "retrieval":
            yield from _query(name, table, modalities)
    asked = {table.get("query") for table in tasks.values() if table.get("kind") == "retrieval"}
    for name, table in modalities.items():
        if table.get("route") == "query" and name not in asked:
            hint = f"Write query = {in_toml(name)} in a task of kind retrieval, or give it another route."
            yield Finding(("modality", name, "route"), "no task reads this query.", hint)


def drop_conflicts(document: Mapping[str, Any], modalities: Tables) -> Iterator[Finding]:
    """`[data] drop` names modalities that can be left out."""
    data = document.get("data")
    dropped = words_of(data, "drop") if isinstance(data, Mapping) else []
    can = [name for name, table in modalities.items() if table.get("route") in ("tokens", "side", "fusion")]
    for name in dict.fromkeys(dropped):
        table = modalities.get(name, {})
        if dropped.count(name) > 1:
            yield Finding(("data", "drop"), f"{in_toml(name)} is named twice.")
        if name not in modalities:
            message = f"the recipe has no modality {in_toml(name)}."
            yield Finding(("data", "drop"), message, nearest(name, can or modalities))
        elif table.get("route") == "backbone":
            message = f"{in_toml(name)} is the backbone's own input and cannot be dropped."
            yield Finding(("data", "drop"), message, f"Drop some of {in_toml(can)}." if can else "Leave drop out.")
        elif table.get("route") == "query":
            message = f"{in_toml(name)} is the query of a retrieval task and cannot be dropped."
            yield Finding(("data", "drop"), message, f"Drop some of {in_toml(can)}." if can else "Leave drop out.")
        elif table.get("missing") == "mean":
            message = f"{in_toml(name)} has no mean to stand in for it where every sample lacks it."
            yield Finding(("data", "drop"), message, f'Write modality.{name}.missing = "zero" or "learned".')


def _labels(name: str, table: Mapping[str, Any]) -> Iterator[Finding]:
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


def _query(name: str, table: Mapping[str, Any], modalities: Tables) -> Iterator[Finding]:
    query, path = table.get("query"), ("task", name, "query")
    if not isinstance(query, str):
        return
    if query not in modalities:
        yield Finding(path, f"the recipe has no modality {in_toml(query)}.", nearest(query, modalities))
    elif modalities[query].get("route") != "query":
        route = modalities[query].get("route")
        message = f"{in_toml(query)} is routed {in_toml(route)}, so it is part of the item that it asks for."
        yield Finding(path, message, f'Write route = "query" in [modality.{query}].')
