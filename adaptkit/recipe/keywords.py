"""The keyword arguments of a class, read from its source: each is a key of a recipe, of a type that TOML can write."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Strict, TypeAdapter

_TYPES = {"int": int, "float": float, "bool": bool, "str": str}


class _Required:
    """The default of a parameter that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = _Required()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One keyword argument of an adapter or a fusion, which is one key of its recipe table.

    Attributes:
        annotation: the type as written in the source.
        type: the type as pydantic reads it (sequences as lists, as TOML has them).
        default: its default, or REQUIRED.
        doc: its line of the class's docstring.
        check: strict validator of one value.
    """

    name: str
    annotation: str
    type: Any
    default: Any
    doc: str
    check: TypeAdapter[Any]

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


def read_keywords(
    kind: str, lineage: Sequence[ast.ClassDef], docstring: str, aliases: Mapping[str, ast.expr]
) -> dict[str, Parameter]:
    """name -> keyword argument, in order.

    Args:
        kind: the class's word in a recipe.
        lineage: the class and its bases, nearest first.
        docstring: of the class; its Args section describes them.
        aliases: names that an annotation may use, to what they stand for.
    """
    docs = _argument_docs(docstring)
    return {
        name: _parameter(kind, name, annotation, default, docs, aliases)
        for name, annotation, default in _keywords(lineage)
    }


def _keywords(lineage: Sequence[ast.ClassDef]) -> list[tuple[str, ast.expr | None, ast.expr | None]]:
    """(name, annotation, default) of the keyword-only arguments of the nearest `__init__`."""
    for node in lineage:
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                assert item.args.kwarg is None, f"{node.name}.__init__ must name its keywords, not take **kwargs"
                return [
                    (argument.arg, argument.annotation, default)
                    for argument, default in zip(item.args.kwonlyargs, item.args.kw_defaults, strict=True)
                ]
    return []


def _parameter(
    kind: str,
    name: str,
    annotation: ast.expr | None,
    default: ast.expr | None,
    docs: Mapping[str, str],
    aliases: Mapping[str, ast.expr],
) -> Parameter:
    assert annotation is not None, f"the keyword {name} of {kind} needs an annotation"
    kept = _type(annotation, aliases)
    return Parameter(
        name=name,
        annotation=ast.unparse(annotation),
        type=kept,
        default=REQUIRED if default is None else ast.literal_eval(default),
        doc=docs.get(name, ""),
        check=TypeAdapter(kept, config=ConfigDict(strict=True, allow_inf_nan=False)),
    )


def _type(node: ast.expr, aliases: Mapping[str, ast.expr]) -> Any:
    """The Python type an annotation stands for, out of those that TOML can write."""
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Name(id=name) if name in _TYPES:
            return _TYPES[name]
        case ast.Name(id=name) if name in aliases:
            return _type(aliases[name], aliases)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type(left, aliases) | _type(right, aliases)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            return Literal[ast.literal_eval(choices)]
        case ast.Subscript(value=ast.Name(id="list" | "Sequence"), slice=item):
            return list[_type(item, aliases)]
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[*items])):
            kept = tuple(... if ast.unparse(item) == "..." else _type(item, aliases) for item in items)
            return Annotated[tuple[kept], Strict(False)]
    raise AssertionError(f"a recipe cannot express the type {ast.unparse(node)} of a keyword")


def _argument_docs(docstring: str) -> dict[str, str]:
    """name -> text of the docstring's Args section."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, re.MULTILINE | re.DOTALL)
    if section is None:
        return {}
    entries = re.split(r"^(?=\w+:)", textwrap.dedent(section[1]), flags=re.MULTILINE)
    named = (entry.partition(":") for entry in entries if entry.strip())
    return {name.strip(): " ".join(text.split()) for name, _, text in named}
