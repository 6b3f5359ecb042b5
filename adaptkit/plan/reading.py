"""What an adapter reads besides its own stream: other places of its branch, blocks, spans, and other towers."""

from __future__ import annotations

from collections.abc import Mapping

from adaptkit.adapters.base import Shape
from adaptkit.anatomy import Anatomy, Site, select
from adaptkit.anatomy.selection import Layers
from adaptkit.errors import SiteError
from adaptkit.registry import nearest
from adaptkit.surgery.graft import MEMBER, SPAN


def place_to_read(name: str, read: str, site: Site, anatomy: Anatomy) -> tuple[Site, ...]:
    """For parallel adapters, the place of the same branch that is read; none for all others.

    Raises:
        SiteError: the branch has no such place.
    """
    if read == "site":
        return ()
    if read == "in" and site.in_width is not None:  # the projection's own input
        return (Site(f"{site.name}.in", site.stack, site.layer, site.path, "before", site.in_width, site.layout),)
    branch = site.name.rpartition(".")[0]
    for other in anatomy.sites:
        if (other.name, other.stack, other.layer) == (f"{branch}.{read}", site.stack, site.layer):
            return (other,)
    raise SiteError(f'adapter.{name}: {site.full_name} has no place "{read}" to read.', hint='Write read = "site".')


def blocks_to_read(name: str, layers: Layers, site: Site, anatomy: Anatomy) -> tuple[Site, ...]:
    """The blocks of the site's stack, for adapters that read them all.

    Raises:
        SiteError: the site is not behind them.
    """
    if site.name != "final.out":
        raise SiteError(
            f"adapter.{name}: {site.full_name} is not behind the blocks that it reads.", hint='Write at = "final.out".'
        )
    word = f"{site.stack}.block.out" if site.stack else "block.out"
    return select(anatomy, [word], layers)


def tower_block(name: str, side: str, site: Site, anatomy: Anatomy) -> Site:
    """The block of another stack at the same depth as the site, for sides such as "vision@block.out".

    Stacks of different depth are matched in proportion: the last block reads the last one.

    Raises:
        SiteError: no such stack or place, or that stack runs later.
    """
    stack, _, place = side.partition("@")
    stacks = {each.name: each for each in anatomy.stacks}
    if stack not in stacks or stack == site.stack:
        others = [word for word in stacks if word and word != site.stack]
        hint = nearest(stack, others) if others else "It has one stack of blocks only."
        raise SiteError(f"adapter.{name}: {side!r} is no other tower of {anatomy.model}.", hint=hint)
    order = list(stacks)
    if order.index(stack) > order.index(site.stack):
        raise SiteError(
            f"adapter.{name}: {stack} runs after {site.stack}, so {side!r} does not exist yet.",
            hint=f'Insert into {stack} and read "{site.stack}@{place}".',
        )
    own, other = stacks[site.stack].depth, stacks[stack].depth
    layer = own - 1 if site.layer is None else site.layer
    depth = max(round((layer + 1) * other / own), 1) - 1
    found = [s for s in anatomy.sites if (s.stack, s.name, s.layer) == (stack, place, depth) and s.when == "after"]
    if not found:
        raise SiteError(
            f"adapter.{name}: {stack} has no {place!r} that can be read.", hint=f'Write "{stack}@block.out".'
        )
    return found[0]


def side_shape(
    side: str,
    host: Shape,
    sides: Mapping[str, Shape],
    spans: Mapping[str, Shape],
    lengths: Mapping[str, int | None],
    towers: Mapping[str, Site],
) -> Shape:
    """The shape of one side.

    Raises:
        SiteError: a span that the backbone's sequence does not have.
    """
    if side in towers:
        block = towers[side]
        return Shape(block.width, lengths.get(block.stack) if block.layout in ("btd", "tbd") else None)
    if side.startswith(MEMBER):
        return Shape(host.width, host.tokens)
    if side.startswith(SPAN):
        name = side.removeprefix(SPAN)
        if name not in spans:
            hint = nearest(name, spans) if spans else "The backbone's sequence holds one modality only."
            raise SiteError(f"{name!r} is no part of the backbone's sequence.", hint=hint)
        return Shape(host.width, spans[name].tokens)
    return sides[side]
