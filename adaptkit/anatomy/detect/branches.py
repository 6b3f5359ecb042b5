"""Split a block into its branches: self-attention, cross-attention, MLP, or plain convolutions.

Everything follows from the order of execution and from who reads whose tensor. An attention is a query, a key
and a value (or one fused projection) and the next projection back to the block's width; a cross-attention if
the key reads a tensor that came into the block from elsewhere. Where its projections have other names, or work
without their modules being called, a module that bears the name attention is one, up to its last projection.
What remains is the MLP or, in a block of convolutions (ResNet), the branch `conv`: `conv.in` is what its first
convolution reads, `conv.out` what its last one returns, before the batch norm that follows it and before the
add. Two 1x1 convolutions in a module of their own are an MLP.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from adaptkit.anatomy.detect.block import Block, Projection
from adaptkit.anatomy.tables.families import words
from adaptkit.anatomy.trace.recorder import Call

Columns = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Branch:
    """One residual branch.

    Attributes:
        name: "attn", "cross_attn", "mlp" or "conv"; a second one of a kind gets a number ("mlp2").
        firsts: projections that read the branch's input.
        last: projection back to the block's width.
        roles: "q", "k", "v", "qkv", "o", "up", "gate", "down" -> (projection, columns).
        host: call of the module around the whole branch, where that alone says where it begins.
    """

    name: str
    firsts: tuple[Projection, ...]
    last: Projection
    roles: dict[str, tuple[Projection, Columns]] = field(default_factory=dict)
    host: Call | None = None

    @property
    def start(self) -> int:
        return self.host.start if self.host else min(p.call.start for p in self.firsts)

    @property
    def end(self) -> int:
        return self.last.call.end


def find_branches(block: Block, *, interleaved: bool = False) -> tuple[Branch, ...]:
    """The branches of a block, in order of execution.

    Args:
        block: as the probe saw it.
        interleaved: the family's fused q, k, v alternate per head, so they are no column slices.
    """
    left = list(block.projections)
    branches: list[Branch] = []
    for first in block.projections:
        if first in left and (attention := _attention(block, first, left, interleaved)):
            branches.append(attention)
    for host in _attention_modules(block):
        if any(branch.last.path.startswith(f"{host.path}.") for branch in branches):
            left = [p for p in left if not p.path.startswith(f"{host.path}.")]  # its gate, its positions: no branch
        elif attention := _within(block, host, left):
            branches.append(attention)
    for run in _runs(block, left, branches):
        if rest := _feed_forward(block, run):
            branches.append(rest)
    return numbered(sorted(branches, key=lambda branch: branch.start))


def _attention(block: Block, first: Projection, left: list[Projection], interleaved: bool) -> Branch | None:
    """The attention whose first projection is `first`; takes its projections out of `left`."""
    roles: dict[str, tuple[Projection, Columns]] = {}
    if first.word in words("fused_qkv") and first.out_width > first.in_width:
        group = [first]
    else:
        mates = [p for p in left if p.parent == first.parent]
        for role, meaning in (("q", "query"), ("k", "key"), ("v", "value")):
            found = next((p for p in mates if p.word in words(meaning)), None)
            if found is None:
                return None
            roles[role] = (found, None)
        group = [projection for projection, _ in roles.values()]
    after = max(p.call.end for p in group)
    last = _output(block, group, [p for p in left if p.call.start > after])
    if last is None or (first.convolution and not last.path.startswith(f"{first.parent}.")):
        return None
    if len(group) == 1:
        roles = _fused(group[0], last.in_width, interleaved)
    roles["o"] = (last, None)
    for projection in (*group, last):
        left.remove(projection)
    if len(group) > 1 and _is_cross(block, *group[:2]):
        return Branch("cross_attn", tuple(group[:1]), last, roles)
    return Branch("attn", tuple(group), last, roles)


def _output(block: Block, group: list[Projection], after: list[Projection]) -> Projection | None:
    """The projection back to the width: not one that reads what the query reads (a gate)."""
    first = group[0]
    back = [p for p in after if p.out_width in (block.in_width, block.width, first.in_width)]
    back = [p for p in back if not (block.ran and p.reads == first.reads)]
    named = (p for p in back if p.parent == first.parent and p.word in words("output"))
    return next(named, back[0] if back else None)


def _fused(fused: Projection, query: int, interleaved: bool) -> dict[str, tuple[Projection, Columns]]:
    """q, k and v in one projection: q is as wide as what `o` reads, k and v share the rest.

    Columns where these are slices; else the projection as a whole.
    """
    rest, odd = divmod(fused.out_width - query, 2)
    slices = {"q": (0, query), "k": (query, query + rest), "v": (query + rest, fused.out_width)}
    if interleaved or rest <= 0 or odd or fused.convolution or not fused.splits_into(slices.values()):
        return {"qkv": (fused, None)}
    return {role: (fused, columns) for role, columns in slices.items()}


def _attention_modules(block: Block) -> list[Call]:
    """Modules inside the block that are called attention, inner ones first."""
    below, name = len(block.path) + 1, re.compile(r"(^|[._])(attn|attention)(\d+|_in|_out)?$")
    named = [call for call in block.inner if name.search(call.path[below:])]
    return sorted(named, key=lambda call: -call.path.count("."))


def _within(block: Block, host: Call, left: list[Projection]) -> Branch | None:
    """The attention that is this module, from what is known of its projections."""
    group = [p for p in left if p.path.startswith(f"{host.path}.") and host.start < p.call.start < host.end]
    last = group[-1] if group else None
    if last is None or last.out_width not in (block.in_width, block.width, *host.in_shape[-1:]):
        return None
    if not host.inputs and (
        block.ran or last.word in words("query") | words("key") | words("value") | words("fused_kv")
    ):
        return None
    roles: dict[str, tuple[Projection, Columns]] = {}
    for p in group[:-1]:
        pair = next((pair for word, pair in (("fused_kv", "kv"), ("fused_qk", "qk")) if p.word in words(word)), "")
        half = p.out_width // 2
        if pair and not p.convolution and p.splits_into([(0, half), (half, p.out_width)]):
            roles |= {pair[0]: (p, (0, half)), pair[1]: (p, (half, p.out_width))}
        for role, meaning in (("q", "query"), ("k", "key"), ("v", "value"), ("qkv", "fused_qkv")):
            if p.word in words(meaning):
                roles[role] = (p, None)
    roles["o"] = (last, None)
    for p in group:
        left.remove(p)
    order = ("q", "k", "v", "qkv", "o")
    return Branch("attn", tuple(group[:1]), last, {role: roles[role] for role in order if role in roles}, host)


def _is_cross(block: Block, query: Projection, key: Projection) -> bool:
    """The key reads another tensor than the query, one that came into the block from elsewhere."""
    if block.ran:
        return key.reads != query.reads and key.reads in block.call.inputs
    inside = query.path[len(block.path) :].lower()
    return any(word in inside for word in ("cross", "encoder_attn", "encdec"))


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
    """An MLP (up, perhaps gate, down), or the convolutions of a residual block."""
    last = next((p for p in reversed(run) if p.out_width == block.width), None)
    first = run[0]
    convolutions = all(p.convolution for p in run)
    if last is None and not convolutions:  # a second stream of another width (TNT, CoaT)
        last = next((p for p in reversed(run) if p.out_width == first.in_width), None)
    alone = run == list(block.projections) or first.reads_stream
    if last is None or (last is first and not (convolutions and alone)) or (convolutions and last is not run[-1]):
        return None
    firsts = tuple(p for p in run if (p is not last or p is first) and (p is first or _read_alike(block, p, first)))
    if not block.ran:
        firsts = tuple(p for p in run if p.call.start < last.call.start and p.parent == first.parent) or (first,)
        firsts = firsts[:2] if len(firsts) > 1 and firsts[1].out_width == firsts[0].out_width else firsts[:1]
    if convolutions and not _is_pointwise(block, run):
        return Branch("conv", firsts, last)
    if any(part in words("mixer") for part in last.parent[len(block.path) :].split(".")):
        return Branch("mixer", firsts, last, {"in_proj": (first, None), "out_proj": (last, None)})
    return Branch("mlp", firsts, last, mlp_roles(block, firsts, last))


def _read_alike(block: Block, one: Projection, other: Projection) -> bool:
    return block.ran and one.reads == other.reads


def _is_pointwise(block: Block, run: list[Projection]) -> bool:
    """Two 1x1 convolutions in a module of their own, there and back, with nothing spatial between: an MLP."""
    if len(run) != 2 or not all(p.pointwise for p in run) or run[0].in_width != run[1].out_width:
        return False
    between = {call.path for call in block.inner if run[0].call.end < call.start and call.end < run[1].call.start}
    return run[0].parent == run[1].parent != block.path and not between & block.spatial


def mlp_roles(block: Block, firsts: tuple[Projection, ...], last: Projection) -> dict[str, tuple[Projection, Columns]]:
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


def numbered(branches: list[Branch]) -> tuple[Branch, ...]:
    seen: dict[str, int] = {}
    named = []
    for branch in branches:
        seen[branch.name] = seen.get(branch.name, 0) + 1
        count = seen[branch.name]
        name = branch.name if count == 1 else f"{branch.name}{count}"
        named.append(replace(branch, name=name))
    return tuple(named)
