"""Whether the keys of one `[modality.NAME]` agree with each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adaptkit.recipe.places import Finding
from adaptkit.recipe.side_checks import ROUTES_OF_SIDES, words_of
from adaptkit.recipe.words import in_toml

# What a backbone reads as it is; all other kinds must become vectors first.
NATIVE = ("text", "image")
SPECTROGRAM = {"bins": 80, "hop": 10.0, "window": 25.0}


def modality_conflicts(name: str, table: Mapping[str, Any]) -> Iterator[Finding]:
    """Everything in which the keys of one modality contradict each other."""
    path = ("modality", name)
    kind, tower = table.get("kind"), table.get("tower")
    if table.get("route") == "backbone":
        yield from _native(path, table)
    elif kind == "text" and tower is None and table.get("route") in ("tokens", "query", *ROUTES_OF_SIDES):
        hint = 'Write tower = { model = "bert-base" } or another text model, or route = "backbone".'
        yield Finding((*path, "route"), "only the backbone reads text without a tower.", hint)
    if kind == "image" and tower is not None and table.get("encoder", "pixels") != "pixels":
        yield Finding((*path, "encoder"), "a tower makes its own tokens of an image.", "Leave encoder out.")
    if kind == "audio" and tower is not None:
        for key, default in SPECTROGRAM.items():
            if table.get(key, default) != default:
                yield Finding((*path, key), "a tower brings its own spectrogram.", f"Leave {key} out.")
    if kind == "table":
        yield from _table(path, table)
    dropout = table.get("modality_dropout", 0)
    if isinstance(dropout, int | float) and dropout > 0 and table.get("missing", "error") == "error":
        hint = 'Write missing = "zero", "mean" or "learned".'
        yield Finding((*path, "modality_dropout"), "nothing is said to stand in for a dropped value.", hint)


def _native(path: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[Finding]:
    """The backbone's own input: raw, and read by the backbone alone."""
    kind = table.get("kind")
    if isinstance(kind, str) and kind not in NATIVE:
        hint = 'Write route = "tokens" (its input sequence), "side" (adapters) or "fusion".'
        words = "features are" if kind == "features" else f"{kind} is"
        yield Finding((*path, "route"), f"{words} no native input of a backbone.", hint)
        return
    if kind == "image" and table.get("encoder", "pixels") != "pixels":
        hint = 'Write encoder = "pixels", or route = "tokens" or "side".'
        yield Finding((*path, "encoder"), "a backbone makes its own tokens of an image.", hint)
    if table.get("tower") is not None:
        hint = 'Leave tower out, or write route = "tokens", "side" or "fusion".'
        yield Finding((*path, "tower"), "the backbone reads this modality itself.", hint)
    if table.get("pool", "none") != "none":
        hint = "Leave pool out; backbone.pool says how the last hidden states become one vector."
        yield Finding((*path, "pool"), "the backbone reads every token.", hint)


def _table(path: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[Finding]:
    columns = [*words_of(table, "columns"), *words_of(table, "categorical")]
    if not table.get("columns") and not table.get("categorical"):
        yield Finding((*path, "columns"), "a table needs a column.", 'Write columns = ["age"] or categorical = [...].')
    for column in sorted({column for column in columns if columns.count(column) > 1}):
        yield Finding((*path, "columns"), f"{in_toml(column)} is named twice.")
    if table.get("embedding") is not None and table.get("tokens", "one") == "columns":
        yield Finding((*path, "embedding"), 'with tokens = "columns" all have the same width.', "Write width instead.")
