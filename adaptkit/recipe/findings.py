"""pydantic's errors in our words: the exact dotted key, what is wrong there and what to write instead."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from adaptkit.errors import nearest
from adaptkit.kinds.words import in_toml, short
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.schema import Recipe
from adaptkit.recipe.shape import keys_at, kinds_with, table_at

_SHOULD_BE = {
    "int_type": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "string_type": "should be text in quotes",
    "bool_type": "should be true or false",
    "list_type": "should be a list",
    "finite_number": "should be finite",
}
_BOUNDS = {
    "greater_than": ("should be greater than", "gt"),
    "greater_than_equal": ("should be at least", "ge"),
    "less_than": ("should be less than", "lt"),
    "less_than_equal": ("should be at most", "le"),
}
_TABLES = ("table", "model_type", "model_attributes_type", "dict_type", "dataclass_type")


def findings(error: ValidationError, document: Mapping[str, Any]) -> list[Finding]:
    """Every error of a validation of the document, in the order of its tables."""
    details = error.errors(include_url=False)
    paths = [_path(detail, document) for detail in details]
    found: dict[Path, Finding] = {}
    for path, detail in zip(paths, details, strict=True):
        # Of a union ("word or list"), the error furthest inside is about what was written.
        inside = any(len(other) > len(path) and other[: len(path)] == path for other in paths)
        if not inside and path not in found:
            found[path] = _finding(path, detail, document)
    return list(found.values())


def _path(detail: ErrorDetails, document: Mapping[str, Any]) -> Path:
    """The keys as the recipe writes them: without the types that pydantic puts between."""
    path = [part for part in detail["loc"] if part != "[key]"]
    kept: list[str | int] = []
    value: Any = document
    for index, part in enumerate(path):
        written = part in value if isinstance(value, Mapping) else isinstance(value, list) and isinstance(part, int)
        lacking = detail["type"] == "missing" and index == len(path) - 1
        if written or lacking:
            kept.append(part)
            value = None if lacking else value[part]  # type: ignore[index]
    return tuple(kept)


def _finding(path: Path, detail: ErrorDetails, document: Mapping[str, Any]) -> Finding:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return Finding(path, "unknown key.", _where_it_belongs(path, document))
    if kind == "missing":
        return Finding(path, "missing key.", _example(path, document))
    if kind == "kind_missing":
        return Finding(
            (*path, context["tag"]), "missing key.", f"Write {context['tag']} = {_choices(context['known'])}."
        )
    if kind in ("kind_unknown", "kind_type"):
        return _unknown_kind(path, detail, document)
    if kind == "literal_error":
        known = _words(context["expected"])
        one_of = f"one of {', '.join(known)}" if len(known) > 1 else known[0]
        message = f"should be {one_of}, not {_shown(detail['input'])}."
        return Finding(path, message, _close(detail["input"], known))
    if isinstance(detail["input"], Mapping) and table_at(Recipe, document, path) is not None:
        return Finding(path, f"{detail['msg']}.")  # about the table as a whole
    return Finding(path, f"{_what(detail)}.", _example(path, document))


def _what(detail: ErrorDetails) -> str:
    """What the value should be and is not, for errors of type and size."""
    kind, context = detail["type"], detail.get("ctx", {})
    shown = _shown(detail["input"])
    if kind in _SHOULD_BE:
        return f"{_SHOULD_BE[kind]}, not {shown}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"{words} {short(context[key])}, not {shown}"
    if kind in _TABLES:
        return f"should be a table, not {shown}"
    if kind == "too_short":
        return f"needs at least {context['min_length']} entries" if context["min_length"] > 1 else "must not be empty"
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "string_pattern_mismatch":
        return f"{shown} has characters that a name cannot have (letters, digits, '_', '-', '.' are fine)"
    return f"{detail['msg']}, not {shown}"


def _unknown_kind(path: Path, detail: ErrorDetails, document: Mapping[str, Any]) -> Finding:
    context = detail.get("ctx", {})
    name, known = context["name"], context["known"]
    at = (*path, context["tag"]) if isinstance(detail["input"], Mapping) else path
    if detail["type"] == "kind_type":
        return Finding(at, f"should be text in quotes, not {_shown(name)}.", _example(at, document))
    hint = nearest(str(name), known)
    listed = f" Known: {', '.join(known)}." if not hint.startswith("Known") else ""
    return Finding(at, f"unknown {context['noun']} {_shown(name)}.", hint + listed)


def _where_it_belongs(path: Path, document: Mapping[str, Any]) -> str:
    """The nearest key of this table, or the table next door that has this key."""
    key, around = str(path[-1]), keys_at(Recipe, document, path[:-1])
    hint = nearest(key, around)
    if not hint.startswith("Did"):
        for name in around:
            inner = keys_at(Recipe, document, (*path[:-1], name))
            if key in inner:
                return f"It belongs to {'.'.join(map(str, (*path[:-1], name)))}."
        tag, others = kinds_with(Recipe, document, path[:-1], key)
        if others:
            return f"It belongs to {tag} = {_choices(others)}."
    return hint


def _example(path: Path, document: Mapping[str, Any]) -> str:
    """`Write for example width = 4096.`"""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    if not path:
        return ""
    key, value = path[-1], keys_at(Recipe, document, path[:-1]).get(str(path[-1]))
    if isinstance(value, Mapping) and len(path) == 1:
        nested = [(name, table) for name, table in value.items() if isinstance(table, Mapping)]
        header, table = (f"{key}.{nested[0][0]}", nested[0][1]) if nested else (key, value)
        return f"Write a table [{header}]" + (f" with {_assignments(table)}." if table else ".")
    if value is None:
        return f"Write a table [{'.'.join(map(str, path))}]." if table_at(Recipe, document, path) else ""
    return f"Write for example {key} = {in_toml(value)}."


def _assignments(table: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {in_toml(value)}" for key, value in table.items())


def _choices(words: Iterable[str]) -> str:
    return " or ".join(in_toml(word) for word in words)


def _words(expected: str) -> list[str]:
    """pydantic's "'a', 'b' or 'c'" as TOML values."""
    return [in_toml(ast.literal_eval(word.strip())) for word in expected.replace(" or ", ", ").split(", ")]


def _close(value: Any, known: list[str]) -> str:
    hint = nearest(in_toml(value), known) if isinstance(value, str) else ""
    return hint.replace('""', '"') if hint.startswith("Did") else ""


def _shown(value: Any) -> str:
    """The value as TOML, short enough for one line."""
    text = in_toml(value).replace("\n", " ")
    return text if len(text) <= 40 else f"{text[:37]}..."
