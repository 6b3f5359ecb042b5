"""Split a block into its branches: self-attention, cross-attention, MLP, or plain convolutions.

Everything follows from the order of execution and from who reads whose tensor. What the attentions leave over is the
MLP or, in a block of convolutions (ResNet), the branch `conv`: `conv.in` is what its first convolution reads,
`conv.out` what its last one returns, before the batch norm that follows it and before the add. Two 1x1 convolutions in
a module of their own are an MLP.
"""

from __future__ import annotations

from adaptkit.anatomy.detect.attention import attention_at, attention_modules, attention_within
from adaptkit.anatomy.detect.block import Block, Projection
from adaptkit.anatomy.detect.branch import Branch, Roles, numbered
from adaptkit.anatomy.tables.families import words


def find_branches(block: Block, *, interleaved: bool = False) -> tuple[Branch, ...]:
    """The branches of a block, in order of execution.

    Args:
        block: as the probe saw it.
        interleaved: the family's fused q, k, v alternate per head, so they are no column slices.
    """
    left = list(block.projections)
    branches: list[Branch] = []
    for first in block.projections:
        if first in left and (attention := attention_at(block, first, left, interleaved=interleaved)):
            branches.append(attention)
    for host in attention_modules(block):
        inside = f"{host.path}."
        if any(branch.last.path.startswith(inside) for branch in branches):
            left = _outside(left, inside)  # its gate, its positions: no branch
        elif attention := attention_within(block, host, left):
            branches.append(attention)
    rest = [_feed_forward(block, run) for run in _runs(block, left, branches)]
    branches += [branch for branch in rest if branch]
    return numbered(sorted(branches, key=lambda branch: branch.start))


def _outside(left: list[Projection], inside: str) -> list[Projection]:
    return [p for p in left if not p.path.startswith(inside)]


def _runs(block: Block, left: list[Projection], attentions: list[Branch]) -> list[list[Projection]]:
    """What the attentions left over, cut where an attention ran or something read the stream in between."""
    cuts = [attention.start for attention in attentions]
    cuts += [norm.call.start for norm in block.norms if norm.reads_stream]
    readers: dict[int, int] = {}
    for projection in left:
        if projection.reads_stream:
            readers.setdefault(projection.reads, projection.call.start)
    cuts += [start - 1 for start in readers.values()]
    runs: dict[int, list[Projection]] = {}
    for projection in left:
        runs.setdefault(sum(cut < projection.call.start for cut in cuts), []).append(projection)
    return list(runs.values())


def _feed_forward(block: Block, run: list[Projection]) -> Branch | None:
    """The branch of a run of projections that no attention interrupts; None where none leads back to the stream."""
    last = _last(block, run)
    if last is None:
        return None
    firsts = _firsts(block, run, last)
    if _are_convolutions(run) and not _is_pointwise(block, run):
        return Branch("conv", firsts, last)
    if any(part in words("mixer") for part in last.parent[len(block.path) :].split(".")):
        return Branch("mixer", firsts, last, {"in_proj": (run[0], None), "out_proj": (last, None)})
    return Branch("mlp", firsts, last, mlp_roles(block, firsts, last))


def _are_convolutions(run: list[Projection]) -> bool:
    return all(p.convolution for p in run)


def _last(block: Block, run: list[Projection]) -> Projection | None:
    """The projection back to the block's width, or to that of a second stream (TNT, CoaT).

    One projection is no MLP. One convolution is a branch where it is all there is, or reads the stream; and nothing
    follows the last of them.
    """
    first, convolutions = run[0], _are_convolutions(run)
    targets = (block.width,) if convolutions else (block.width, first.in_width)
    last = next((p for width in targets for p in reversed(run) if p.out_width == width), None)
    if not convolutions:
        return None if last is first else last
    alone = first.reads_stream or run == list(block.projections)
    return last if last is run[-1] and (last is not first or alone) else None


def _firsts(block: Block, run: list[Projection], last: Projection) -> tuple[Projection, ...]:
    """The projections that read the branch's input; without a forward, two that are alike: a gate and what it gates."""
    first = run[0]
    if block.ran:
        return (first, *(p for p in run[1:] if p is not last and p.reads == first.reads))
    ahead = [p for p in run if p.call.start < last.call.start and p.parent == first.parent] or [first]
    return tuple(ahead[:2] if len({p.out_width for p in ahead[:2]}) == 1 else ahead[:1])


def _is_pointwise(block: Block, run: list[Projection]) -> bool:
    """Two 1x1 convolutions in a module of their own, there and back, with nothing spatial between: an MLP."""
    if len(run) != 2 or not all(p.pointwise for p in run) or run[0].in_width != run[1].out_width:
        return False
    between = {call.path for call in block.inner if run[0].call.end < call.start and call.end < run[1].call.start}
    return run[0].parent == run[1].parent != block.path and not between & block.spatial


def mlp_roles(block: Block, firsts: tuple[Projection, ...], last: Projection) -> Roles:
    """up, perhaps gate, and down; gate and up may be halves of one projection."""
    up = firsts[0]
    if len(firsts) == 1 and up.word in words("fused_gate") and up.out_width == 2 * last.in_width:
        half = last.in_width
        return {"gate": (up, (0, half)), "up": (up, (half, 2 * half)), "down": (last, None)}
    if len(firsts) != 2:
        return {"up": (up, None), "down": (last, None)}
    gate = next((p for p in firsts if _is_activated(block, p)), None)
    gate = gate or next((p for p in firsts if p.word in words("gate")), firsts[0])
    up = firsts[1] if gate is firsts[0] else firsts[0]
    return {"gate": (gate, None), "up": (up, None), "down": (last, None)}


def _is_activated(block: Block, projection: Projection) -> bool:
    """A module without parameters of its own reads its output: the activation function of a gate."""
    known = {p.path for p in block.projections} | {n.path for n in block.norms}
    readers = [call for call in block.inner if call.inputs[:1] == (projection.call.output,)]
    return block.ran and any(call.path not in known and "act" in call.path.lower() for call in readers)
