"""Which projections of a block are an attention.

An attention is a query, a key and a value (or one fused projection) and the next projection back to the block's width;
a cross-attention if the key reads a tensor that came into the block from elsewhere. Where its projections have other
names, or work without their modules being called, a module that bears the name attention is one, up to its last
projection.
"""

from __future__ import annotations

import re

from adaptkit.anatomy.detect.block import Block, Projection
from adaptkit.anatomy.detect.branch import Branch, Roles
from adaptkit.anatomy.tables.families import words
from adaptkit.anatomy.trace.recorder import Call

INPUTS = (("q", "query"), ("k", "key"), ("v", "value"))
WORDS = (*INPUTS, ("qkv", "fused_qkv"))
HALVES = (("kv", "fused_kv"), ("qk", "fused_qk"))


def attention_at(block: Block, first: Projection, left: list[Projection], *, interleaved: bool) -> Branch | None:
    """The attention whose first projection is `first`; takes its projections out of `left`."""
    roles = _inputs(first, left)
    group = [projection for projection, _ in roles.values()]
    last = _output(block, group, left) if group else None
    if last is None or (first.convolution and not last.path.startswith(f"{first.parent}.")):
        return None
    if "qkv" in roles:
        roles = _slices(first, last.in_width, interleaved)
    roles["o"] = (last, None)
    for projection in (*group, last):
        left.remove(projection)
    if len(group) > 1 and _is_cross(block, *group[:2]):
        return Branch("cross_attn", tuple(group[:1]), last, roles)
    return Branch("attn", tuple(group), last, roles)


def _inputs(first: Projection, left: list[Projection]) -> Roles:
    """q, k and v of the module that `first` is in: one fused projection or three; empty where it has neither."""
    if first.word in words("fused_qkv") and first.out_width > first.in_width:
        return {"qkv": (first, None)}
    mates = [p for p in left if p.parent == first.parent]
    found = {role: next((p for p in mates if p.word in words(meaning)), None) for role, meaning in INPUTS}
    roles: Roles = {role: (p, None) for role, p in found.items() if p is not None}
    return roles if len(roles) == len(INPUTS) else {}


def _output(block: Block, group: list[Projection], left: list[Projection]) -> Projection | None:
    """The projection back to the width: not one that reads what the query reads (a gate)."""
    first, after = group[0], max(p.call.end for p in group)
    back = [p for p in left if p.call.start > after and p.out_width in (block.in_width, block.width, first.in_width)]
    back = [p for p in back if not (block.ran and p.reads == first.reads)]
    named = [p for p in back if p.parent == first.parent and p.word in words("output")]
    return next(iter(named or back), None)


def _slices(fused: Projection, query: int, interleaved: bool) -> Roles:
    """q, k and v in one projection: q is as wide as what `o` reads, k and v share the rest.

    Columns where these are slices; else the projection as a whole.
    """
    rest, odd = divmod(fused.out_width - query, 2)
    slices = {"q": (0, query), "k": (query, query + rest), "v": (query + rest, fused.out_width)}
    if interleaved or rest <= 0 or odd or fused.convolution or not fused.splits_into(slices.values()):
        return {"qkv": (fused, None)}
    return {role: (fused, columns) for role, columns in slices.items()}


def _is_cross(block: Block, query: Projection, key: Projection) -> bool:
    """The key reads another tensor than the query, one that came into the block from elsewhere."""
    if block.ran:
        return key.reads != query.reads and key.reads in block.call.inputs
    inside = query.path[len(block.path) :].lower()
    return any(word in inside for word in ("cross", "encoder_attn", "encdec"))


def attention_modules(block: Block) -> list[Call]:
    """Modules inside the block that are called attention, inner ones first."""
    below, name = len(block.path) + 1, re.compile(r"(^|[._])(attn|attention)(\d+|_in|_out)?$")
    named = [call for call in block.inner if name.search(call.path[below:])]
    return sorted(named, key=lambda call: -call.path.count("."))


def attention_within(block: Block, host: Call, left: list[Projection]) -> Branch | None:
    """The attention that is this module, from what is known of its projections; takes them out of `left`."""
    group = [p for p in left if p.path.startswith(f"{host.path}.") and host.start < p.call.start < host.end]
    if not group or not _ends(block, host, group[-1]):
        return None
    roles: Roles = {}
    for projection in group[:-1]:
        roles |= _by_word(projection)
    roles["o"] = (group[-1], None)
    for projection in group:
        left.remove(projection)
    in_order = {role: roles[role] for role in ("q", "k", "v", "qkv", "o") if role in roles}
    return Branch("attn", tuple(group[:1]), group[-1], in_order, host)


def _ends(block: Block, host: Call, last: Projection) -> bool:
    """It leads back to the width; where the module was not seen to read anything, its word must not say otherwise."""
    if last.out_width not in (block.in_width, block.width, *host.in_shape[-1:]):
        return False
    others = words("query") | words("key") | words("value") | words("fused_kv")
    return bool(host.inputs) or not (block.ran or last.word in others)


def _by_word(projection: Projection) -> Roles:
    """The roles that the word of a projection names: one, or one for each half of its columns."""
    roles: Roles = {}
    half = projection.out_width // 2
    halves = [(0, half), (half, projection.out_width)]
    pair = next((pair for pair, meaning in HALVES if projection.word in words(meaning)), "")
    if pair and not projection.convolution and projection.splits_into(halves):
        roles |= {role: (projection, columns) for role, columns in zip(pair, halves, strict=True)}
    roles |= {role: (projection, None) for role, meaning in WORDS if projection.word in words(meaning)}
    return roles
