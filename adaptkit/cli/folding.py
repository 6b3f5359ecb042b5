"""Twelve like things shown once: layers as ranges, paths with the layer folded, one row per kind of graft."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


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
