"""One key of a kind's table: a keyword argument of its class, of a type that TOML can write."""

from __future__ import annotations

import collections.abc
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast, get_args, get_origin

from annotated_types import Interval

# Types of numbers with both bounds, for the authors of kinds: what lies outside is a slip of the pen. Their upper ends
# are far above what any model has, and low enough that a product of two still has a size that can be told.
MOST = 2**20
Count = Annotated[int, Interval(ge=1, le=MOST)]  # widths, ranks, tokens, samples
Natural = Annotated[int, Interval(ge=0, le=MOST)]
Depth = Annotated[int, Interval(ge=1, le=1024)]  # of what is built one by one: layers, processes
Steps = Annotated[int, Interval(ge=1, le=10**9)]
Seed = Annotated[int, Interval(ge=0, lt=2**32)]  # what numpy and torch both take
Share = Annotated[float, Interval(ge=0, lt=1)]
Positive = Annotated[float, Interval(gt=0, le=1e6)]
NotNegative = Annotated[float, Interval(ge=0, le=1e6)]
Number = Annotated[float, Interval(ge=-1e6, le=1e6)]

_PLAIN = {"int": int, "float": float, "bool": bool, "str": str, "dict": dict}


class _Required:
    """The default of a key that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"

    def __reduce__(self) -> str:
        return "REQUIRED"  # one and the same in every process


REQUIRED = _Required()


@dataclass(frozen=True, slots=True)
class Key:
    """One keyword argument of a class or function, which is one key of its table in a recipe.

    Attributes:
        type: what TOML may write there, as pydantic reads it.
        default: its default, or REQUIRED.
        doc: its line of the docstring.
    """

    name: str
    type: Any
    default: Any
    doc: str

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    def as_json(self) -> dict[str, Any]:
        """For the index."""
        own = {"type": type_text(self.type), "doc": self.doc}
        return own if self.required else {**own, "default": self.default}

    @classmethod
    def from_json(cls, name: str, written: dict[str, Any]) -> Key:
        """What `as_json` wrote."""
        kind = type_of(written["type"])
        default = written.get("default", REQUIRED)
        if isinstance(default, list) and get_origin(kind) is tuple:
            default = frozen(default)
        return cls(name, kind, default, written["doc"])


def type_text(kind: Any) -> str:
    """`int | None` -> "int | None": the type as Python writes it.

    Raises:
        TypeError: TOML cannot write values of this type.
    """
    origin, args = get_origin(kind), get_args(kind)
    if kind in (None, types.NoneType):
        return "None"
    if kind in _PLAIN.values():
        return kind.__name__
    if origin is Annotated and all(isinstance(bound, Interval) for bound in args[1:]):
        return f"Annotated[{type_text(args[0])}, {', '.join(map(repr, args[1:]))}]"
    if origin in (types.UnionType, typing.Union):
        return " | ".join(map(type_text, args))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if origin in (list, collections.abc.Sequence):
        return f"list[{type_text(args[0])}]"
    if origin is tuple:
        return f"tuple[{', '.join('...' if part is ... else type_text(part) for part in args)}]"
    if origin is dict:
        return "dict"
    raise TypeError(f"a recipe cannot write values of the type {getattr(kind, '__name__', kind)}")


def type_of(text: str) -> Any:
    """The type that `type_text` wrote: the index is a file of this package, made of its own words only."""
    words = {"Literal": Literal, "Annotated": Annotated, "Interval": Interval, "list": list, "tuple": tuple, **_PLAIN}
    return eval(text, {"__builtins__": {}, **words})


def frozen(value: Any) -> Any:
    """JSON's lists as tuples, all the way down."""
    return tuple(map(frozen, cast(list[Any], value))) if isinstance(value, list) else value
