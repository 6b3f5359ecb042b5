"""One residual branch of a block: its projections, and what each of them is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from adaptkit.anatomy.detect.block import Projection
from adaptkit.anatomy.trace.recorder import Call

Columns = tuple[int, int] | None
Roles = dict[str, tuple[Projection, Columns]]


@dataclass(frozen=True, slots=True)
class Branch:
    """One residual branch.

    Attributes:
        name: "attn", "cross_attn", "mlp", "mixer" or "conv"; a second one of a kind gets a number ("mlp2").
        firsts: projections that read the branch's input.
        last: projection back to the block's width.
        roles: "q", "k", "v", "qkv", "o", "up", "gate", "down" -> (projection, columns).
        host: call of the module around the whole branch, where that alone says where it begins.
    """

    name: str
    firsts: tuple[Projection, ...]
    last: Projection
    roles: Roles = field(default_factory=dict)
    host: Call | None = None

    @property
    def start(self) -> int:
        return self.host.start if self.host else min(p.call.start for p in self.firsts)

    @property
    def end(self) -> int:
        return self.last.call.end


def numbered(branches: list[Branch]) -> tuple[Branch, ...]:
    """With a number behind the name of every branch but the first of its kind."""
    seen: dict[str, int] = {}
    named = []
    for branch in branches:
        count = seen[branch.name] = seen.get(branch.name, 0) + 1
        named.append(branch if count == 1 else replace(branch, name=f"{branch.name}{count}"))
    return tuple(named)
