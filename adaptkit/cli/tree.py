"""The folded module tree as lines of text; a plan's tree is a diff whose lines begin with "+" or "~"."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adaptkit.anatomy.site import Site

if TYPE_CHECKING:
    from adaptkit.anatomy import Node
    from adaptkit.surgery import Graft


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
