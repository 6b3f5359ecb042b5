"""Types and values in the words of a recipe's reader: "a whole number", and `[28, 28]` as TOML writes it."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal, cast, get_args, get_origin

import tomlkit
from annotated_types import Interval
from tomlkit.exceptions import ConvertError

_PLAIN: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text in quotes",
    bool: "true or false",
    dict: "a table",
}

_MANY: dict[Any, str] = {int: "whole numbers", float: "numbers", str: "texts", bool: "true or false"}


def in_words(kind: Any, *, bounds: bool = False) -> str:
    """`int | Literal["host"]` -> `a whole number or "host"`.

    Args:
        kind: the type.
        bounds: also say from where to where numbers go.
    """
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, args = get_origin(kind), get_args(kind)
    if origin is typing.Annotated:
        known = [in_bounds(bound) for bound in args[1:] if bounds and isinstance(bound, Interval)]
        return " ".join([in_words(args[0]), *known])
    if origin in (types.UnionType, typing.Union):
        return " or ".join(in_words(part, bounds=bounds) for part in args if part is not types.NoneType)
    if origin is Literal:
        choices = ", ".join(in_toml(choice) for choice in args)
        return choices if len(args) == 1 else f"one of {choices}"
    if origin in (list, tuple):
        inner = [part for part in args if part is not ...]
        plain = get_args(inner[0])[0] if get_origin(inner[0]) is typing.Annotated else inner[0]
        count = f"{len(inner)} " if origin is tuple and len(inner) == len(args) else ""
        return f"a list of {count}{_MANY[plain]}" if set(inner) == {inner[0]} and plain in _MANY else "a list"
    return "a table"


def in_bounds(bounds: Interval) -> str:
    """`Interval(ge=0, lt=1)` -> "from 0 to below 1"."""
    least: Any = bounds.ge if bounds.ge is not None else bounds.gt
    most: Any = bounds.le if bounds.le is not None else bounds.lt
    low = None if least is None else f"from {short(least)}" if bounds.ge is not None else f"above {short(least)}"
    high = None if most is None else f"to {short(most)}" if bounds.le is not None else f"to below {short(most)}"
    return " ".join(word for word in (low, high) if word)


def short(number: float) -> str:
    """`1,048,576`, `0.5`, `1,000,000` of 1e6."""
    return f"{int(number):,}" if number == int(number) else f"{number:,}"


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
