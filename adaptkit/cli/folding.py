"""Twelve like things shown once: layers as ranges, paths with the layer folded, one row per kind of graft, one tree.

A plan's tree is a diff whose lines begin with "+" or "~".
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adaptkit.anatomy.site import Site

if TYPE_CHECKING:
    from adaptkit.anatomy import Node
    from adaptkit.surgery import Graft


def ranges(numbers: Iterable[int | None]) -> str:
    """`0-5, 9` for 0, 1, 2, 3, 4, 5, 9; "" for things that belong to no layer."""
    ordered = sorted({n for n in numbers if n is not None})
    parts: list[list[int]] = []
    for n in ordered:
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def folded_path(paths: Sequence[str]) -> str:
    """`encoder.layer.{0-11}.output.dense` for the paths of twelve layers."""
    words = [path.split(".") for path in dict.fromkeys(paths)]
    if len({len(w) for w in words}) > 1:
        return ", ".join(_grouped(words, 0))
    columns = list(zip(*words, strict=True))
    if math.prod(len(set(column)) for column in columns) == len(words):
        return ".".join(map(_folded_word, columns))
    # Not every combination occurs (blocks of several stages): fold each stage on its own.
    first = next(index for index, column in enumerate(columns) if len(set(column)) > 1)
    return ", ".join(_grouped(words, first))


def _grouped(words: Sequence[Sequence[str]], column: int) -> list[str]:
    """Folded paths of the groups that have the same word in this column, or the same length."""
    groups: dict[tuple[str, int], list[str]] = {}
    for path in words:
        groups.setdefault((path[column], len(path)), []).append(".".join(path))
    return [folded_path(group) if len(groups) > 1 else ", ".join(group) for group in groups.values()]


def _folded_word(column: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(column))
    if len(distinct) == 1:
        return distinct[0]
    if all(word.isdigit() for word in distinct):
        return f"{{{ranges(map(int, distinct))}}}"
    return f"{{{'|'.join(distinct)}}}"


def folded_names(names: Iterable[str]) -> list[str]:
    """`encoder.layer.{0-11}.output.LayerNorm.bias` for twelve names that differ in numbers only."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"(?<=\.)\d+(?=\.)", "#", name), []).append(name)
    return [folded_path(group) for group in groups.values()]


@dataclass(frozen=True, slots=True)
class GraftRow:
    """The like grafts of one adapter at one site: one row of the table.

    Attributes:
        layers: the layers, in order.
        parameters: trainable parameters of each.
    """

    adapter: str
    kind: str
    site: str
    width: int | None
    parameters: int
    layers: tuple[int | None, ...]
    path: str

    @property
    def count(self) -> int:
        return len(self.layers)

    @property
    def total(self) -> int:
        return self.count * self.parameters

    def __str__(self) -> str:
        layers = f", layers {ranges(self.layers)}" if ranges(self.layers) else ""
        return f"{self.adapter}: {self.kind} at {self.site}{layers}: {self.count} x {self.parameters:,}"


def graft_rows(grafts: Iterable[Mapping[str, Any]]) -> list[GraftRow]:
    """Grafts as the plan lists them, folded by layer, in the plan's order."""
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    for graft in grafts:
        key = (graft["adapter"], graft["kind"], graft["site"], graft.get("width"), graft["parameters"])
        groups.setdefault(key, []).append(graft)
    return [
        GraftRow(
            adapter=key[0],
            kind=key[1],
            site=key[2],
            width=key[3],
            parameters=key[4],
            layers=tuple(g["layer"] for g in members),
            path=folded_path([g["path"] for g in members]),
        )
        for key, members in groups.items()
    ]


@dataclass(frozen=True, slots=True)
class Mark:
    """A line beneath a module: sign "+" for a graft, "~" for parameters that move."""

    sign: str
    text: str
    parameters: int


def anatomy_lines(root: Node) -> Iterator[str]:
    """Every module with parameters, with the sites it hosts."""
    yield from _lines(root, "", None)


def plan_lines(grafts: Iterable[Graft], unfrozen: Iterable[str], model: Any) -> Iterator[str]:
    """The branches that surgery changes, opened down to the change; everything else as one line.

    Args:
        grafts: in this model.
        unfrozen: names of its parameters that move.
        model: the bare backbone, or a bare tower, on any device.
    """
    from adaptkit.anatomy import tree

    marks, hosts = _marks(grafts, unfrozen, model)
    yield from _lines(tree(model, hosts), "", marks)


def _lines(node: Node, indent: str, marks: Mapping[str, Mark] | None, name: str = "", copies: int = 1) -> Iterator[str]:
    """
    Args:
        marks: of a plan; None for an anatomy.
        name: what the parent calls it.
        copies: like neighbours this line stands for.
    """
    words = [f"{name}: {node.kind}" if name else node.kind, node.shape, f"{node.parameters:,}"]
    if copies > 1:
        words[-1] = f"{copies} x {words[-1]}"
    if marks is None and node.sites:
        words.append(f"<- {', '.join(node.sites)}")
    yield f"  {indent}{'  '.join(word for word in words if word)}"
    for mark in (marks[site] for site in node.sites) if marks is not None else ():
        yield f"{mark.sign} {indent}  {mark.text}  {mark.parameters:,}"
    for child_name, child, times in _children(node):
        overview = not indent or child_name[-1].isdigit()  # top level, and layers that are left alone
        if _is_marked(child) or (child.parameters and (marks is None or overview)):
            yield from _lines(child, indent + "  ", marks, child_name, times)


def _children(node: Node) -> Iterator[tuple[str, Node, int]]:
    """Name, child, and how often it stands there. A bare list of modules is passed over: `layer.0-11`."""
    for child in node.children:
        if child.kind == "ModuleList" and not child.sites:
            for name, inner, times in _children(child):
                yield f"{child.name}.{name}", inner, times
        else:
            yield child.name, child, child.count // node.count


def _is_marked(node: Node) -> bool:
    return bool(node.sites) or any(map(_is_marked, node.children))


def _marks(grafts: Iterable[Graft], unfrozen: Iterable[str], model: Any) -> tuple[dict[str, Mark], list[Site]]:
    """Name -> line, and where each stands, as sites of that name: the tree folds only what changes alike."""
    marks: dict[str, Mark] = {}
    hosts: list[Site] = []
    for graft in grafts:
        text = f"{graft.adapter}: {graft.kind} at {graft.site.full_name}"
        name = f"{text} ({graft.parameters})"
        marks[name] = Mark("+", text, graft.parameters)
        hosts.append(replace(graft.site, name=name, stack="", layer=0, model=""))
    moving: dict[str, list[str]] = defaultdict(list)
    for parameter in unfrozen:
        host, _, leaf = parameter.rpartition(".")
        moving[host].append(leaf)
    for host, leaves in moving.items():
        text = f"{', '.join(leaves)}: trained too"
        count = sum(getattr(model.get_submodule(host), leaf).numel() for leaf in leaves)
        name = f"{text} ({count})"
        marks[name] = Mark("~", text, count)
        hosts.append(Site(name, "", 0, host, "after", 0))
    return marks, hosts
