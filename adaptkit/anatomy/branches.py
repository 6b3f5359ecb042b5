"""Split a block into its branches: self-attention, cross-attention, MLP, or plain convolutions.

Everything follows from the order of execution and from who reads whose tensor. An attention is a query, a key
and a value (or one fused projection) and the next projection back to the block's width; a cross-attention if
the key reads a tensor that came into the block from elsewhere. What remains is the MLP or, in a block of
convolutions (ResNet), the branch `conv`: `conv.in` is what its first convolution reads, `conv.out` what its
last one returns, before the batch norm that follows it and before the add.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from adaptkit.anatomy.block import Block, Projection
from adaptkit.anatomy.families import words


@dataclass(frozen=True, slots=True)
class Branch:
    """One residual branch.

    Attributes:
        name: "attn", "cross_attn", "mlp" or "conv"; a second one of a kind gets a number ("mlp2").
        firsts: projections that read the branch's input.
        last: projection back to the block's width.
        roles: "q", "k", "v", "o", "up", "gate", "down" -> (projection, columns).
    """

    name: str
    firsts: tuple[Projection, ...]
    last: Projection
    roles: dict[str, tuple[Projection, tuple[int, int] | None]] = field(default_factory=dict)

    @property
    def start(self) -> int:
        return min(p.call.start for p in self.firsts)

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
    for run in _runs(block, left, branches):
        if rest := _feed_forward(block, run):
            branches.append(rest)
    return _numbered(sorted(branches, key=lambda branch: branch.start))


def _attention(block: Block, first: Projection, left: list[Projection], interleaved: bool) -> Branch | None:
    """The attention whose first projection is `first`; takes its projections out of `left`."""
    roles: dict[str, tuple[Projection, tuple[int, int] | None]] = {}
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
    last = next((p for p in left if p.call.start > after and p.out_width == block.in_width), None)
    if last is None:
        return None
    if len(group) == 1 and not interleaved:
        roles = _slices(group[0], last)
    roles["o"] = (last, None)
    for projection in (*group, last):
        left.remove(projection)
    if len(group) > 1 and _is_cross(block, *group[:2]):
        return Branch("cross_attn", tuple(group[:1]), last, roles)
    return Branch("attn", tuple(group), last, roles)


def _slices(fused: Projection, last: Projection) -> dict[str, tuple[Projection, tuple[int, int] | None]]:
    """Columns of q, k and v in one projection: q is as wide as what `o` reads, k and v share the rest."""
    query = last.in_width
    rest, odd = divmod(fused.out_width - query, 2)
    if rest <= 0 or odd:
        return {}
    return {
        "q": (fused, (0, query)),
        "k": (fused, (query, query + rest)),
        "v": (fused, (query + rest, fused.out_width)),
    }


def _is_cross(block: Block, query: Projection, key: Projection) -> bool:
    """The key reads another tensor than the query, one that came into the block from elsewhere."""
    if block.ran:
        return key.reads != query.reads and key.reads in block.call.inputs
    inside = query.path[len(block.path) :].lower()
    return any(word in inside for word in ("cross", "encoder_attn", "encdec"))


def _runs(block: Block, left: list[Projection], attentions: list[Branch]) -> list[list[Projection]]:
    """What the attentions left over, cut where an attention ran or a norm read the stream in between."""
    cuts = [attention.start for attention in attentions]
    cuts += [norm.call.start for norm in block.norms if norm.reads_stream]
    runs: dict[int, list[Projection]] = {}
    for projection in left:
        runs.setdefault(sum(cut < projection.call.start for cut in cuts), []).append(projection)
    return list(runs.values())


def _feed_forward(block: Block, run: list[Projection]) -> Branch | None:
    """An MLP (up, perhaps gate, down), or the convolutions of a residual block."""
    last = next((p for p in reversed(run) if p.out_width == block.width), None)
    first = run[0]
    if last is None or last is first:
        return None
    firsts = tuple(p for p in run if p is not last and (p is first or (block.ran and p.reads == first.reads)))
    if not block.ran:
        firsts = tuple(p for p in run if p.call.start < last.call.start and p.parent == first.parent)
        firsts = firsts[:2] if len(firsts) > 1 and firsts[1].out_width == firsts[0].out_width else firsts[:1]
    if all(p.convolution for p in run):
        return Branch("conv", firsts, last)
    return Branch("mlp", firsts, last, _mlp_roles(block, firsts, last))


def _mlp_roles(
    block: Block, firsts: tuple[Projection, ...], last: Projection
) -> dict[str, tuple[Projection, tuple[int, int] | None]]:
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


def _numbered(branches: list[Branch]) -> tuple[Branch, ...]:
    seen: dict[str, int] = {}
    named = []
    for branch in branches:
        seen[branch.name] = seen.get(branch.name, 0) + 1
        count = seen[branch.name]
        name = branch.name if count == 1 else f"{branch.name}{count}"
        named.append(Branch(name, branch.firsts, branch.last, branch.roles))
    return tuple(named)
