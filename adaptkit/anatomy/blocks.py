"""Find the stacks of repeated blocks in a module tree.

A block is a child of a ModuleList or Sequential whose children are all of one class and each hold a norm and
two projections. A child that holds such a list itself is a stage (Swin, ConvNeXt): its blocks count, not it.
Lists whose paths differ in numbers only (`layer1`, `layer2`; `stages.0.blocks`, `stages.1.blocks`) are one
stack.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from adaptkit.anatomy.layers import norm_width, widths


@dataclass(frozen=True, slots=True)
class FoundStack:
    """Paths of like blocks, in the order of the tree, and their word where there are several stacks."""

    name: str
    blocks: tuple[str, ...]


def find_stacks(model: nn.Module) -> tuple[FoundStack, ...]:
    """Every stack of blocks, in the order of the tree. Empty where nothing repeats."""
    lists: list[tuple[str, tuple[str, ...]]] = []
    _collect(model, "", lists)
    merged: dict[str, list[str]] = {}
    for path, blocks in lists:
        merged.setdefault(re.sub(r"\d+", "*", path), []).extend(blocks)
    names = _stack_names(list(merged))
    return tuple(FoundStack(name, tuple(blocks)) for name, blocks in zip(names, merged.values(), strict=True))


def _collect(module: nn.Module, path: str, lists: list[tuple[str, tuple[str, ...]]]) -> bool:
    """Add the lists of blocks below `module`; True if there were any."""
    found = False
    for name, child in module.named_children():
        below = f"{path}.{name}" if path else name
        if _collect(child, below, lists):
            found = True
        elif _is_list_of_blocks(child):
            lists.append((below, tuple(f"{below}.{key}" for key, _ in child.named_children())))
            found = True
    return found


def _is_list_of_blocks(module: nn.Module) -> bool:
    if not isinstance(module, (nn.ModuleList, nn.Sequential)) or len(module) == 0:
        return False
    children = list(module.children())
    return len({type(child) for child in children}) == 1 and all(map(_is_block, children))


def _is_block(module: nn.Module) -> bool:
    """Holds a norm and two projections: an expert of a mixture has no norm, a stem one projection."""
    inside = list(module.modules())
    return any(norm_width(child) for child in inside) and sum(widths(child) is not None for child in inside) >= 2


def _stack_names(paths: Sequence[str]) -> list[str]:
    """The word that tells stacks apart: the first part where paths differ, without `_model` or `_tower`."""
    if len(paths) == 1:
        return [""]
    parts = [path.split(".") for path in paths]
    shared = next((i for i, column in enumerate(zip(*parts, strict=False)) if len(set(column)) > 1), 0)
    words = [re.sub(r"_(model|tower|stack)$", "", path[shared]) for path in parts]
    return words if len(set(words)) == len(words) else [re.sub(r"[.*]+", "_", path) for path in paths]
