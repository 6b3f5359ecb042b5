"""What the class of an adapter or a fusion says about itself, read from its source: no torch to check a recipe."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from adaptkit.recipe.keywords import REQUIRED, Parameter, read_keywords

__all__ = [
    "REQUIRED",
    "AdapterSignature",
    "FusionSignature",
    "Parameter",
    "Signature",
    "adapter_signatures",
    "fusion_signatures",
]

_PACKAGE = Path(__file__).resolve().parent.parent
ADAPTERS_FOLDER, FUSION_FOLDER = _PACKAGE / "adapters", _PACKAGE / "fusion"
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
    "works_on",
    "least",
    "sequences",
)
_S = TypeVar("_S", bound="Signature")


@dataclass(frozen=True, slots=True)
class Signature:
    """One kind of adapter or fusion: its keywords and what its class declares.

    Attributes:
        kind: the word in the recipe.
        doc_first_line: summary of the docstring.
        parameters: name -> keyword argument, in order.
        paper: where the method comes from.
        formula: number of parameters as a formula.
    """

    kind: str
    class_name: str
    doc_first_line: str
    parameters: Mapping[str, Parameter]
    paper: str
    formula: str


@dataclass(frozen=True, slots=True)
class AdapterSignature(Signature):
    """One kind of adapter.

    Attributes:
        needs_sides: least and largest number of sides (None: no limit).
        mergeable: it can be folded into its host's weight.
        reads_input: it works in weight space, on a projection.
        reads_blocks: it reads what every block of its stack returned.
        fuses: its sides are the changes of other adapters of its site.
        identity: a fresh one changes nothing.
        halves: tasks can share one half of it.
        works_on: the kind of site it works at: "stream", "sequence" or "attention".
    """

    needs_sides: tuple[int, int | None]
    mergeable: bool
    reads_input: bool
    reads_blocks: bool
    fuses: bool
    identity: bool
    halves: bool
    works_on: str


@dataclass(frozen=True, slots=True)
class FusionSignature(Signature):
    """One kind of fusion.

    Attributes:
        least: fewest streams it works on, the backbone's among them.
        sequences: it reads whole sequences, not one vector per stream.
    """

    least: int
    sequences: bool


@functools.cache
def adapter_signatures(folder: Path = ADAPTERS_FOLDER) -> Mapping[str, AdapterSignature]:
    """kind -> signature of every class decorated with `@ADAPTERS.register("kind")` in the folder's files."""

    def complete(general: Signature, facts: Mapping[str, Any]) -> AdapterSignature:
        return AdapterSignature(
            **_fields(general),
            needs_sides=facts.get("needs_sides", (0, 0)),
            mergeable=facts.get("mergeable", False),
            reads_input=facts.get("reads_input", False),
            reads_blocks=facts.get("reads_blocks", False),
            fuses=facts.get("fuses", False),
            identity=facts.get("identity", True),
            halves=facts.get("halves") is not None,
            works_on=facts.get("works_on", "stream"),
        )

    return _signatures(folder, "ADAPTERS", complete)


@functools.cache
def fusion_signatures(folder: Path = FUSION_FOLDER) -> Mapping[str, FusionSignature]:
    """kind -> signature of every class decorated with `@FUSIONS.register("kind")` in the folder's files."""

    def complete(general: Signature, facts: Mapping[str, Any]) -> FusionSignature:
        return FusionSignature(**_fields(general), least=facts["least"], sequences=facts["sequences"])

    return _signatures(folder, "FUSIONS", complete)


def _fields(signature: Signature) -> dict[str, Any]:
    return {field.name: getattr(signature, field.name) for field in fields(signature)}


def _signatures(
    folder: Path, registry: str, complete: Callable[[Signature, Mapping[str, Any]], _S]
) -> Mapping[str, _S]:
    """kind -> signature of every class of the folder that is entered into the registry, by kind."""
    classes, aliases = _definitions(folder)
    found: dict[str, _S] = {}
    for node in classes.values():
        kind = _registered_kind(node, registry)
        if kind is not None:
            facts = _literals(_lineage(node, classes))
            found[kind] = complete(_signature(kind, node, classes, aliases, facts), facts)
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


def _registered_kind(node: ast.ClassDef, registry: str) -> str | None:
    """ "gmu" for a class under `@ADAPTERS.register("gmu")`, if ADAPTERS is the registry."""
    for decorator in node.decorator_list:
        match decorator:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=name), attr="register"),
                args=[ast.Constant(value=str(kind))],
            ) if name == registry:
                return kind
    return None


def _signature(
    kind: str,
    node: ast.ClassDef,
    classes: Mapping[str, ast.ClassDef],
    aliases: Mapping[str, ast.expr],
    facts: Mapping[str, Any],
) -> Signature:
    docstring = ast.get_docstring(node) or ""
    return Signature(
        kind=kind,
        class_name=node.name,
        doc_first_line=docstring.partition("\n")[0],
        parameters=MappingProxyType(read_keywords(kind, _lineage(node, classes), docstring, aliases)),
        paper=facts.get("paper", ""),
        formula=facts.get("formula", ""),
    )


def _lineage(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> list[ast.ClassDef]:
    """The class and its bases within the folder, nearest first."""
    line = [node]
    for base in node.bases:
        name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
        if name in classes:
            line += _lineage(classes[name], classes)
    return line


def _literals(lineage: Sequence[ast.ClassDef]) -> dict[str, Any]:
    """The facts (paper, formula, ...), from the nearest class that assigns them."""
    facts: dict[str, Any] = {}
    for node in reversed(lineage):
        for item in node.body:
            target = item.targets[0] if isinstance(item, ast.Assign) else getattr(item, "target", None)
            if isinstance(item, ast.Assign | ast.AnnAssign) and item.value and isinstance(target, ast.Name):
                name = target.id
                if name in FACTS:
                    facts[name] = ast.literal_eval(item.value)
    return facts
