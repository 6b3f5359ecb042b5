"""Where hooks reach what a branch reads and adds: its stream, its entry, its output, and the sum after its add.

Pre-norm blocks start with a norm, post-norm blocks do not. A norm that reads what a module of the block
returned, and not a residual sum, is part of the branch (sandwich norms of Gemma 2, norms of timm's
ResPostBlock): no site is on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adaptkit.anatomy.detect.block import Block, Norm
from adaptkit.anatomy.detect.branches import Branch
from adaptkit.anatomy.trace.recorder import Call, Trace


@dataclass(frozen=True, slots=True)
class HookPoint:
    """A module and the side of it that the hook works on."""

    path: str
    when: Literal["before", "after"]
    norm: bool = False


@dataclass(frozen=True, slots=True)
class BranchPoints:
    """The hook points of one branch.

    `sum` is None where no module boundary is between the add and its reader. Without a forward, `stream` and
    `sum` are None unless the family table calls the block post-norm: the tree does not tell.
    """

    stream: HookPoint | None
    entry: HookPoint
    out: HookPoint
    sum: HookPoint | None


def find_hook_points(
    block: Block, branches: tuple[Branch, ...], trace: Trace, norm: str = ""
) -> tuple[BranchPoints, ...]:
    """The hook points of every branch, in the same order.

    Args:
        block: as the probe saw it.
        branches: of `find_branches`.
        trace: knows which tensors are residual sums.
        norm: "post" from the family table, where no forward can be made; else it is found.
    """
    gaps = _gaps(block, branches, trace)
    around = _around_branches(block, branches, gaps, trace) if block.ran else _by_table(gaps, norm)
    points = []
    for branch, before, after in zip(branches, *around, strict=True):
        entry = _entry(block, branch, branches, before)
        stream = HookPoint(before.path, "before") if before else entry
        total = _sum(block, branch, before, after, trace, last=branch is branches[-1])
        if not block.ran and norm != "post":
            stream = total = None
        points.append(BranchPoints(stream, entry, HookPoint(branch.last.path, "after"), total))
    return tuple(points)


Around = tuple[list[Norm | None], list[Norm | None]]  # for each branch the norm before it, and that behind its add


def _by_table(gaps: list[list[Norm]], norm: str) -> Around:
    """Where no forward was made: the nearest norm before a branch, or behind it where the family is post-norm."""
    if norm != "post" and gaps[0]:
        return [gap[-1] if gap else None for gap in gaps[:-1]], [None for _ in gaps[1:]]
    return [None for _ in gaps[1:]], [gap[0] if gap else None for gap in gaps[1:]]


def _around_branches(block: Block, branches: tuple[Branch, ...], gaps: list[list[Norm]], trace: Trace) -> Around:
    """A norm whose output is added to later carries the stream: it stands behind an add.

    Any other belongs to the branch that reads it; parallel branches (GPT-J) read one norm, or each its own (Falcon).
    """
    carrying = trace.added | {block.call.output}
    leading = [_norm_before(branch, gaps[: i + 1], carrying) for i, branch in enumerate(branches)]
    taken = {norm.path for norm in leading if norm}
    behind = [_behind_adds(block, gap, carrying) for gap in gaps[1:-1]]
    return leading, [next((n for n in gap if n.path not in taken), None) for gap in (*behind, gaps[-1])]


def _behind_adds(block: Block, gap: list[Norm], carrying: set[int]) -> list[Norm]:
    """The norms between two branches that carry the stream, or that no module reads."""
    read = {tensor for call in block.inner for tensor in (*call.inputs, call.source)}
    return [norm for norm in gap if norm.call.output in carrying or norm.call.output not in read]


def _norm_before(branch: Branch, gaps: list[list[Norm]], carrying: set[int]) -> Norm | None:
    """The last norm whose output the branch reads; where that is not known, the last one before it."""
    first = branch.firsts[0].call
    reads = {*first.inputs[:1], first.source, *(branch.host.inputs[:1] if branch.host else ())}
    known = [norm for gap in gaps for norm in gap if norm.call.output in reads]
    own = [norm for norm in known or gaps[-1] if norm.call.output not in carrying]
    return own[-1] if own else None


def _gaps(block: Block, branches: tuple[Branch, ...], trace: Trace) -> list[list[Norm]]:
    """Norms over the stream before the first branch, between each two, and after the last."""
    bounds = [block.call.start, *(b.end for b in branches), block.call.end]
    starts = [*(b.start for b in branches), block.call.end]
    return [
        [n for n in block.norms if low < n.call.start < high and not _is_inside_branch(n, block, trace)]
        for low, high in zip(bounds[:-1], starts, strict=True)
    ]


def _is_inside_branch(norm: Norm, block: Block, trace: Trace) -> bool:
    if not block.ran or norm.reads_stream:
        return False
    if any(other.call.output == norm.call.inputs[0] in trace.added for other in block.norms):  # RWKV: behind a norm
        return False
    if len(norm.call.in_shape) == 2 and len(block.call.in_shape) > 2:  # a batch norm over (B * T, D), as in LeViT
        return True
    return any(call.output == norm.call.inputs[0] for call in block.inner if call.end < norm.call.start)


def _entry(block: Block, branch: Branch, branches: tuple[Branch, ...], leading: Norm | None) -> HookPoint:
    """Where everything the branch reads passes through one module boundary."""
    if branch.host is not None:
        return HookPoint(branch.host.path, "before")
    first = branch.firsts[0]
    if branch.firsts[1:]:
        if (around := _module_of_firsts(block, branch)) is not None:
            return HookPoint(around.path, "before")
        if leading is not None and block.ran and _reads_alone(branch, branches, leading):
            return HookPoint(leading.path, "after")
    return HookPoint(first.path, "before")


def _module_of_firsts(block: Block, branch: Branch) -> Call | None:
    """The module around all first projections, where it reads what they read."""
    around = _smallest_around(block, [p.call for p in branch.firsts])
    if around is None or not block.ran:
        return around
    return around if any(around.inputs[:1] == (p.reads,) for p in branch.firsts) else None


def _reads_alone(branch: Branch, branches: tuple[Branch, ...], norm: Norm) -> bool:
    """The branch reads what the norm returns, and no other branch does."""
    read = branch.firsts[0].reads
    shared = any(p.reads == read for other in branches if other is not branch for p in other.firsts)
    return norm.call.output == read and not shared


def _smallest_around(block: Block, calls: list[Call]) -> Call | None:
    """The innermost module of the block whose call holds all these calls."""
    around = [
        outer for outer in block.inner if all(outer.start < call.start and call.end < outer.end for call in calls)
    ]
    return max(around, key=lambda outer: outer.start, default=None)


def _sum(
    block: Block, branch: Branch, leading: Norm | None, trailing: Norm | None, trace: Trace, last: bool
) -> HookPoint | None:
    if trailing is not None:
        return HookPoint(trailing.path, "before", norm=True)
    if leading is not None and block.ran:
        around = _smallest_around(block, [leading.call, branch.last.call])
        if around is not None and around.output in trace.adds:
            return HookPoint(around.path, "after")
    if last and block.call.output in trace.adds and _ends_block(block, branch):
        return HookPoint(block.path, "after")
    return None


def _ends_block(block: Block, branch: Branch) -> bool:
    """Whatever has weights and runs after the branch only scales or norms what the branch returned."""
    last = branch.last.call
    returned = {c.output for c in block.inner if c.start <= last.start and last.end <= c.end}
    for call in block.inner:
        if call.start > last.end:
            if call.inputs[:1] and call.inputs[0] in returned:
                returned.add(call.output)
            elif call.path in block.weighted:
                return False
    return True
