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
    if block.ran:
        leading, trailing = _around_branches(block, branches, gaps, trace)
    else:
        pre = norm != "post" and bool(gaps[0])
        leading = [gap[-1] if pre and gap else None for gap in gaps[:-1]]
        trailing = [gap[0] if not pre and gap else None for gap in gaps[1:]]
    points = []
    for i, branch in enumerate(branches):
        before, after = leading[i], trailing[i]
        entry = _entry(block, branch, branches, before)
        stream = HookPoint(before.path, "before") if before else entry
        total = _sum(block, branch, before, after, trace, last=i == len(branches) - 1)
        if not block.ran and norm != "post":
            stream = total = None
        points.append(BranchPoints(stream, entry, HookPoint(branch.last.path, "after"), total))
    return tuple(points)


def _around_branches(
    block: Block, branches: tuple[Branch, ...], gaps: list[list[Norm]], trace: Trace
) -> tuple[list[Norm | None], list[Norm | None]]:
    """The norm before each branch and the norm behind its add.

    A norm whose output is added to later carries the stream: it stands behind an add. Any other belongs to the branch
    that reads it; parallel branches (GPT-J) read one norm, or each its own (Falcon).
    """
    added = trace.added | {block.call.output}
    read = {tensor for call in block.inner for tensor in (*call.inputs, call.source)}
    leading: list[Norm | None] = []
    for i, branch in enumerate(branches):
        first = branch.firsts[0].call
        reads = {*first.inputs[:1], first.source, *(branch.host.inputs[:1] if branch.host else ())}
        known = [norm for gap in gaps[: i + 1] for norm in gap if norm.call.output in reads]
        own = [norm for norm in known or gaps[i] if norm.call.output not in added]
        leading.append(own[-1] if own else None)
    taken = {norm.path for norm in leading if norm}
    behind = [[n for n in gap if n.call.output in added or n.call.output not in read] for gap in gaps[1:-1]]
    behind = [[n for n in gap if n.path not in taken] for gap in (*behind, gaps[-1])]
    return leading, [gap[0] if gap else None for gap in behind]


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
    if len(norm.call.in_shape) == 2 < len(block.call.in_shape):  # a batch norm over (B * T, D), as in LeViT
        return True
    return any(call.output == norm.call.inputs[0] for call in block.inner if call.end < norm.call.start)


def _entry(block: Block, branch: Branch, branches: tuple[Branch, ...], leading: Norm | None) -> HookPoint:
    """Where everything the branch reads passes through one module boundary."""
    if branch.host is not None:
        return HookPoint(branch.host.path, "before")
    if len(branch.firsts) == 1:
        return HookPoint(branch.firsts[0].path, "before")
    read = branch.firsts[0].reads
    host = _smallest_around(block, [p.call for p in branch.firsts])
    if host is not None and (not block.ran or any(host.inputs[:1] == (p.reads,) for p in branch.firsts)):
        return HookPoint(host.path, "before")
    shared = any(p.reads == read for other in branches if other is not branch for p in other.firsts)
    if leading is not None and block.ran and leading.call.output == read and not shared:
        return HookPoint(leading.path, "after")
    return HookPoint(branch.firsts[0].path, "before")


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
