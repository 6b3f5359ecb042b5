"""Types and values in the words of a recipe's reader: "a whole number", and `[28, 28]` as TOML writes it."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal, cast, get_args, get_origin

import tomlkit
from tomlkit.exceptions import ConvertError

_PLAIN: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text in quotes",
    bool: "true or false",
    dict: "a table",
}

_MANY: dict[Any, str] = {int: "whole numbers", float: "numbers", str: "texts", bool: "true or false"}


def in_words(kind: Any) -> str:
    """`int | Literal["host"]` -> `a whole number or "host"`."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, args = get_origin(kind), get_args(kind)
    if origin is typing.Annotated:
        return in_words(args[0])
    if origin in (types.UnionType, typing.Union):
        return " or ".join(in_words(part) for part in args if part is not types.NoneType)
    if origin is Literal:
        choices = ", ".join(in_toml(choice) for choice in args)
        return choices if len(args) == 1 else f"one of {choices}"
    if origin in (list, tuple):
        inner = [part for part in args if part is not ...]
        return f"a list of {_MANY[inner[0]]}" if set(inner) == {inner[0]} and inner[0] in _MANY else "a list"
    return "a table"


def in_toml(value: Any) -> str:
    """The value as TOML writes it on one line."""
    if isinstance(value, dict):
        entries = [f"{key} = {in_toml(item)}" for key, item in cast(dict[str, Any], value).items()]
        return f"{{ {', '.join(entries)} }}" if entries else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(in_toml(item) for item in cast(list[Any], value))}]"
    try:
        return str(cast(Any, tomlkit.item(value)).as_string())
    except ConvertError:
        return repr(value)
