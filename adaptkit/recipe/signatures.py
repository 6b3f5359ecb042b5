"""What an adapter's class says about itself, read from its source: no torch is needed to check a recipe."""

from __future__ import annotations

import ast
import functools
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Strict, TypeAdapter

ADAPTERS_FOLDER = Path(__file__).resolve().parent.parent / "adapters"
FACTS = (
    "paper",
    "formula",
    "needs_sides",
    "mergeable",
    "reads_input",
    "reads_blocks",
    "fuses",
    "identity",
    "halves",
    "meets",
)
_TYPES = {"int": int, "float": float, "bool": bool, "str": str}


class _Required:
    """The default of a parameter that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = _Required()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One keyword argument of an adapter, which is one key of its recipe table.

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


@dataclass(frozen=True, slots=True)
class AdapterSignature:
    """One kind of adapter: its keywords and what its class declares.

    Attributes:
        kind: the word in the recipe.
        doc_first_line: summary of the docstring.
        parameters: name -> keyword argument, in order.
        paper: where the method comes from.
        formula: number of parameters as a formula.
        needs_sides: least and largest number of sides (None: no limit).
        mergeable: it can be folded into its host's weight.
        reads_input: it works in weight space, on a projection.
        reads_blocks: it reads what every block of its stack returned.
        fuses: its sides are the changes of other adapters of its site.
        identity: a fresh one changes nothing.
        halves: tasks can share one half of it.
        meets: the kind of site it works at: "stream", "sequence" or "attention".
    """

    kind: str
    class_name: str
    doc_first_line: str
    parameters: Mapping[str, Parameter]
    paper: str
    formula: str
    needs_sides: tuple[int, int | None]
    mergeable: bool
    reads_input: bool
    reads_blocks: bool
    fuses: bool
    identity: bool
    halves: bool
    meets: str


@functools.cache
def adapter_signatures(folder: Path = ADAPTERS_FOLDER) -> Mapping[str, AdapterSignature]:
    """kind -> signature of every class decorated with `@ADAPTERS.register("kind")` in the folder's files."""
    classes, aliases = _definitions(folder)
    found: dict[str, AdapterSignature] = {}
    for node in classes.values():
        kind = _registered_kind(node)
        if kind is not None:
            found[kind] = _signature(kind, node, classes, aliases)
    return MappingProxyType(dict(sorted(found.items())))


def _definitions(folder: Path) -> tuple[dict[str, ast.ClassDef], dict[str, ast.expr]]:
    """Every class of the folder by name, and every module-level `Name = ...` (a type may be named so)."""
    classes: dict[str, ast.ClassDef] = {}
    aliases: dict[str, ast.expr] = {}
    for file in sorted(folder.glob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8"), str(file)).body:
            if isinstance(node, ast.ClassDef):
                classes[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                aliases[node.targets[0].id] = node.value
    return classes, aliases


def _registered_kind(node: ast.ClassDef) -> str | None:
    """ "gmu" for a class under `@ADAPTERS.register("gmu")`."""
    for decorator in node.decorator_list:
        match decorator:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="ADAPTERS"), attr="register"),
                args=[ast.Constant(value=str(kind))],
            ):
                return kind
    return None


def _signature(
    kind: str, node: ast.ClassDef, classes: Mapping[str, ast.ClassDef], aliases: Mapping[str, ast.expr]
) -> AdapterSignature:
    lineage = _lineage(node, classes)
    docstring = ast.get_docstring(node) or ""
    docs = _argument_docs(docstring)
    parameters = {
        name: _parameter(kind, name, annotation, default, docs, aliases)
        for name, annotation, default in _keywords(lineage)
    }
    facts = _literals(lineage)
    return AdapterSignature(
        kind=kind,
        class_name=node.name,
        doc_first_line=docstring.partition("\n")[0],
        parameters=MappingProxyType(parameters),
        paper=facts.get("paper", ""),
        formula=facts.get("formula", ""),
        needs_sides=facts.get("needs_sides", (0, 0)),
        mergeable=facts.get("mergeable", False),
        reads_input=facts.get("reads_input", False),
        reads_blocks=facts.get("reads_blocks", False),
        fuses=facts.get("fuses", False),
        identity=facts.get("identity", True),
        halves=facts.get("halves") is not None,
        meets=facts.get("meets", "stream"),
    )


def _lineage(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> list[ast.ClassDef]:
    """The class and its bases within the folder, nearest first."""
    line = [node]
    for base in node.bases:
        name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
        if name in classes:
            line += _lineage(classes[name], classes)
    return line


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


def _literals(lineage: Sequence[ast.ClassDef]) -> dict[str, Any]:
    """paper, formula, needs_sides and mergeable, from the nearest class that assigns them."""
    facts: dict[str, Any] = {}
    for node in reversed(lineage):
        for item in node.body:
            target = item.targets[0] if isinstance(item, ast.Assign) else getattr(item, "target", None)
            if isinstance(item, ast.Assign | ast.AnnAssign) and item.value and isinstance(target, ast.Name):
                name = target.id
                if name in FACTS:
                    facts[name] = ast.literal_eval(item.value)
    return facts


def _parameter(
    kind: str,
    name: str,
    annotation: ast.expr | None,
    default: ast.expr | None,
    docs: Mapping[str, str],
    aliases: Mapping[str, ast.expr],
) -> Parameter:
    assert annotation is not None, f"the keyword {name} of the adapter {kind} needs an annotation"
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
    raise AssertionError(f"a recipe cannot express the type {ast.unparse(node)} of an adapter's keyword")


def _argument_docs(docstring: str) -> dict[str, str]:
    """name -> text of the docstring's Args section."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, re.MULTILINE | re.DOTALL)
    if section is None:
        return {}
    entries = re.split(r"^(?=\w+:)", textwrap.dedent(section[1]), flags=re.MULTILINE)
    named = (entry.partition(":") for entry in entries if entry.strip())
    return {name.strip(): " ".join(text.split()) for name, _, text in named}
