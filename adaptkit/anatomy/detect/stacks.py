"""Find the stacks of repeated blocks in a module tree, with the help of one forward where there is one.

A list is a ModuleList, ModuleDict or Sequential, or what a module holds under numbered names (`b1`, `b2`;
`Mixed_5b`, `Mixed_5c`). A block is a member of a list that runs after the others, not beside them, and holds
two projections and a norm, or two projections and a residual add. A list whose members are of several classes
counts if one of them repeats: in a list of one attention and one MLP nothing does, they are parts of a block.
A member that holds such a list itself is a stage (Swin, ConvNeXt): its blocks count, not it. Lists whose paths
differ in numbers only (`layer1`, `layer2`; `stages.0.blocks`, `stages.1.blocks`) are one stack.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from torch import nn

from adaptkit.anatomy.detect.block import CONVOLUTIONS
from adaptkit.anatomy.layers import norm_width, widths
from adaptkit.anatomy.tables.families import words
from adaptkit.anatomy.trace.recorder import Call, Trace

CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
Test = Callable[[str, nn.Module], bool]


@dataclass(frozen=True, slots=True)
class FoundStack:
    """Paths of like blocks, in the order of the tree, and their word where there are several stacks."""

    name: str
    blocks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ran:
    """What one forward tells of modules; empty where none could be made.

    Attributes:
        calls: path -> its calls.
        adds: identities of the residual sums.
    """

    calls: dict[str, list[Call]] = field(default_factory=dict)
    adds: frozenset[int] = frozenset()

    def starts(self, paths: Iterable[str]) -> list[int]:
        return sorted(call.start for path in paths for call in self.calls.get(path, ()))

    def adds_up(self, path: str) -> bool:
        """The module returns a residual sum."""
        return any(call.output in self.adds for call in self.calls.get(path, ()))

    def beside(self, paths: Iterable[str]) -> set[str]:
        """Those that read a tensor that another one reads; who only hands it on (in place, a no-op) does not count."""
        readers: dict[int, set[str]] = {}
        for call in (call for path in paths for call in self.calls.get(path, ())):
            if call.inputs and call.inputs[0] != call.output:
                readers.setdefault(call.inputs[0], set()).add(call.path)
        return {path for paths in readers.values() if len(paths) > 1 for path in paths}


@dataclass(slots=True)
class Listing:
    """One list: its path, its members by path, and whether a container holds them."""

    path: str
    members: dict[str, nn.Module]
    contained: bool

    @property
    def key(self) -> str:
        """Equal for lists that differ in numbers only."""
        return re.sub(r"\d+", "*", self.path)

    @property
    def depth(self) -> int:
        return self.path.count(".") + bool(self.path)

    def repeats(self, blocks: Sequence[str]) -> bool:
        """These members are like blocks: all there are, of one class, or several of one class."""
        kinds = Counter(type(self.members[path]) for path in blocks)
        uniform = self.contained and len(kinds) == 1 and len(blocks) == len(self.members)
        return uniform or max(kinds.values(), default=0) > 1

    def passing(self, test: Test, stages: Collection[str]) -> list[str]:
        """The members that pass a test; stages, which hold blocks found before, do not count."""
        return [path for path, module in self.members.items() if path not in stages and test(path, module)]


def find_stacks(model: nn.Module, trace: Trace | None = None) -> tuple[FoundStack, ...]:
    """Every stack of blocks, in the order of the tree. Empty where nothing repeats.

    Args:
        model: on any device.
        trace: of one forward; tells what runs beside what.
    """
    ran = _ran(trace)
    merged = _joined(_found(_listings(model, ran), ran), model, ran)
    names = _stack_names(list(merged))
    return tuple(FoundStack(name, tuple(blocks)) for name, blocks in zip(names, merged.values(), strict=True))


def _found(lists: list[Listing], ran: Ran) -> dict[str, list[str]]:
    """Key -> blocks: of containers, then of numbered names around or beside them; weaker tests where none pass."""

    def strict(path: str, module: nn.Module) -> bool:
        return _is_block(module, 2) or (ran.adds_up(path) and _projections(module) >= 2)

    def loose(path: str, module: nn.Module) -> bool:
        return _is_block(module, 1) and _has_convolution(module)

    contained = [listing for listing in lists if listing.contained]
    found = _stacks(contained, strict, loose)
    parts = {path for blocks in found.values() for path in blocks}
    named = [each for each in lists if not each.contained and not parts.intersection((each.path, *_around(each.path)))]
    found |= _stacks(named, strict, loose, {outer for path in parts for outer in _around(path)})
    return found or _stacks(contained, loose, loose) or _stacks(contained, _is_convolution, loose)


def _ran(trace: Trace | None) -> Ran:
    if trace is None or not trace.ran:
        return Ran()
    calls: dict[str, list[Call]] = {}
    for call in trace.calls:
        calls.setdefault(call.path, []).append(call)
    return Ran(calls, frozenset(trace.adds))


def _listings(model: nn.Module, ran: Ran) -> list[Listing]:
    """Every list of the model, also those of no blocks, in the order of the tree; without members beside others."""
    lists = []
    for path, module in model.named_modules():
        members = _members(path, module)
        beside = ran.beside(members)
        if members and not _is_aside(path) and 4 * len(beside) <= len(members):
            ahead = {name: child for name, child in members.items() if name not in beside}
            lists.append(Listing(path, ahead, isinstance(module, CONTAINERS)))
    return lists


def _members(path: str, module: nn.Module) -> dict[str, nn.Module]:
    """The children with weights, by path: all of a container, the numbered ones of any other module."""
    contained = isinstance(module, CONTAINERS)
    return {
        f"{path}.{name}" if path else name: child
        for name, child in module.named_children()
        if any(True for _ in child.parameters()) and (contained or re.search(r"\d", name))
    }


def _is_aside(path: str) -> bool:
    """What it holds is no part of the main road."""
    return path.rpartition(".")[2] in words("shortcut") or bool(words("aside") & {*path.split(".")})


def _stacks(lists: list[Listing], strict: Test, loose: Test, stages: Iterable[str] = ()) -> dict[str, list[str]]:
    """Key -> blocks; stages do not count, only the blocks inside them.

    Args:
        lists: to look at.
        strict: which members are blocks.
        loose: which are, too, where they are of the class of a block or in a list without any.
        stages: modules that hold blocks found before.
    """
    groups: dict[str, list[Listing]] = {}
    for listing in lists:
        groups.setdefault(listing.key, []).append(listing)
    chosen: dict[str, list[str]] = {}
    inner = set(stages)
    for key in sorted(groups, key=lambda key: -max(each.depth for each in groups[key])):
        group = sorted(groups[key], key=lambda each: -each.depth)
        if any(each.repeats(each.passing(strict, inner)) for each in group):
            chosen[key] = _chosen(group, strict, loose, inner)
    return {key: blocks for key, blocks in chosen.items() if blocks}


def _chosen(group: list[Listing], strict: Test, loose: Test, stages: set[str]) -> list[str]:
    """The blocks of lists that differ in numbers only; what is around them joins the stages."""
    kinds = {type(each.members[path]) for each in group for path in each.passing(strict, stages)}
    chosen = []
    for each in group:
        blocks = each.passing(strict, stages)
        more = [path for path in each.passing(loose, stages) if not blocks or type(each.members[path]) in kinds]
        found = list(dict.fromkeys([*blocks, *more]))
        chosen += found
        stages.update(outer for path in found for outer in _around(path))
    return chosen


def _around(path: str) -> list[str]:
    """Every module that holds this one, the root excepted."""
    parts = path.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _joined(stacks: dict[str, list[str]], model: nn.Module, ran: Ran) -> dict[str, list[str]]:
    """Stacks in the order of the tree; one that runs amid the blocks of a list around it is a part of that stack.

    So `stages` and `stages.transformer` (MobileViT) are one sequence, and so are the trees of DLA.
    """
    order = {path: i for i, (path, _) in enumerate(model.named_modules(remove_duplicate=False))}
    stacks = {key: sorted(blocks, key=order.__getitem__) for key, blocks in stacks.items()}
    joined: dict[str, list[str]] = {}
    for key in sorted(stacks, key=lambda key: (key.count("."), order[stacks[key][0]])):
        host = next((other for other in joined if _amid(other, key, stacks, ran)), None)
        joined.setdefault(key if host is None else host, []).extend(stacks[key])
    whole = {key: sorted(blocks, key=order.__getitem__) for key, blocks in joined.items()}
    return dict(sorted(whole.items(), key=lambda item: order[item[1][0]]))


def _amid(outer: str, inner: str, stacks: dict[str, list[str]], ran: Ran) -> bool:
    """The outer list holds the inner one, and what is in it runs before or between and after it."""
    around, within = ran.starts(stacks[outer]), ran.starts(stacks[inner])
    if not around or not within or (outer and not f"{inner}.".startswith(f"{outer}.")):
        return False
    return around[0] < within[-1] and within[0] < around[-1]


def _projections(module: nn.Module) -> int:
    return sum(widths(inside) is not None for inside in module.modules())


def _is_block(module: nn.Module, projections: int) -> bool:
    """Holds a norm and so many projections: an expert of a mixture has no norm, a stem one projection."""
    callable_ = type(module).forward is not nn.ModuleList.forward
    has_norm = any(norm_width(inside) for inside in module.modules())
    return callable_ and has_norm and _projections(module) >= projections


def _has_convolution(module: nn.Module) -> bool:
    return any(isinstance(inside, CONVOLUTIONS) for inside in module.modules())


def _is_convolution(path: str, module: nn.Module) -> bool:
    """In a network of nothing but convolutions (VGG) each is a block."""
    return isinstance(module, CONVOLUTIONS) and widths(module) is not None


def _stack_names(paths: Sequence[str]) -> list[str]:
    """The word that tells stacks apart: the first part where paths differ, without `_model` or `_tower`."""
    if len(paths) == 1:
        return [""]
    parts = [path.split(".") for path in paths]
    shared = next((i for i, column in enumerate(zip(*parts, strict=False)) if len(set(column)) > 1), 0)
    names = [re.sub(r"_(model|tower|stack)$", "", path[shared]).rstrip("*_") for path in parts]
    return names if len(set(names)) == len(names) and all(names) else _whole_names(paths)


def _whole_names(paths: Sequence[str]) -> list[str]:
    """The whole path as a word, with a number where several are alike."""
    names = [re.sub(r"[.*]+", "_", path).strip("_") or "main" for path in paths]
    before = [names[:i].count(name) for i, name in enumerate(names)]
    return [f"{name}{count + 1}" if count else name for name, count in zip(names, before, strict=True)]
