"""What an adapter reads besides its own stream: other places of its branch, blocks, spans, and other towers."""

from __future__ import annotations

from collections.abc import Mapping

from adaptkit.adapters.base import Shape
from adaptkit.anatomy import Anatomy, Site, Stack, select
from adaptkit.anatomy.selection import Layers
from adaptkit.errors import SiteError, nearest
from adaptkit.surgery.graft import MEMBER, SPAN


def place_to_read(name: str, read: str, site: Site, anatomy: Anatomy) -> tuple[Site, ...]:
    """For parallel adapters, the place of the same branch that is read; none for all others.

    Raises:
        SiteError: the branch has no such place.
    """
    if read == "site":
        return ()
    if read == "in" and site.in_width is not None:  # the projection's own input
        place = f"{site.name}.in", site.stack, site.layer, site.path, "before", site.in_width, site.layout
        return (Site(*place, model=site.model),)
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


def tower_block(name: str, side: str, site: Site, anatomy: Anatomy, others: Mapping[str, Anatomy]) -> Site:
    """The block of another stack at the same depth as the site, for sides such as "vision@block.out".

    The stack is one of the site's own model, or of the tower of a modality: "poster@block.out". Stacks of different
    depth are matched in proportion: the last block reads the last one, and so does whatever is behind the blocks.

    Raises:
        SiteError: no such stack or place, or that stack runs later.
    """
    word, _, place = side.partition("@")
    own = next((stack for stack in anatomy.stacks if stack.name == site.stack), anatomy.stacks[-1])
    if word.partition(".")[0] in others:
        source = others[word.partition(".")[0]]
        stack = stack_of_tower(name, word, side, source)
    else:
        source = anatomy
        stack = stack_beside(name, word, side, site, anatomy, [*others])
    layer = own.depth - 1 if site.layer is None else site.layer
    depth = max(round((layer + 1) * stack.depth / own.depth), 1) - 1
    found = [s for s in source.sites if (s.stack, s.name, s.layer) == (stack.name, place, depth) and s.when == "after"]
    if not found:
        raise SiteError(f"adapter.{name}: {word} has no {place!r} that can be read.", hint=f'Write "{word}@block.out".')
    return found[0]


def stack_beside(name: str, word: str, side: str, site: Site, anatomy: Anatomy, towers: list[str]) -> Stack:
    """Another stack of the model that the adapter is in, which runs before."""
    stacks = {each.name: each for each in anatomy.stacks}
    if word not in stacks or word == site.stack:
        others = [other for other in stacks if other and other != site.stack] + towers
        hint = nearest(word, others) if others else "It has one stack of blocks only."
        raise SiteError(f"adapter.{name}: {side!r} is no other tower of {anatomy.model}.", hint=hint)
    order = list(stacks)
    if site.stack not in order:
        raise SiteError(
            f"adapter.{name}: behind {anatomy.model}, its blocks cannot be read any more.",
            hint='Write at = "final.out", or read the blocks of the tower of a modality.',
        )
    if order.index(word) > order.index(site.stack):
        place = side.partition("@")[2]
        raise SiteError(
            f"adapter.{name}: {word} runs after {site.stack}, so {side!r} does not exist yet.",
            hint=f'Insert into {word} and read "{site.stack}@{place}".',
        )
    return stacks[word]


def stack_of_tower(name: str, word: str, side: str, source: Anatomy) -> Stack:
    """The stack of a tower: its only one, or "poster.encoder" where it has several."""
    tower, _, inner = word.partition(".")
    stacks = {each.name: each for each in source.stacks}
    if not inner and len(stacks) == 1:
        return next(iter(stacks.values()))
    if not inner or inner not in stacks:
        names = ", ".join(f'"{tower}{other and "."}{other}"' for other in stacks) or "none"
        raise SiteError(f"adapter.{name}: {side!r} is no stack of the tower.", hint=f"Its stacks are {names}.")
    return stacks[inner]


def side_shape(
    side: str,
    host: Shape,
    sides: Mapping[str, Shape],
    spans: Mapping[str, Shape],
    lengths: Mapping[str, Mapping[str, int | None]],
    towers: Mapping[str, Site],
) -> Shape:
    """The shape of one side; `lengths` are those of the streams of every model, by stack.

    Raises:
        SiteError: a span that the backbone's sequence does not have.
    """
    if side in towers:
        block = towers[side]
        known = lengths[block.model].get(block.stack)
        return Shape(block.width, known if block.layout in ("btd", "tbd") else None)
    if side.startswith(MEMBER):
        return Shape(host.width, host.tokens)
    if side.startswith(SPAN):
        name = side.removeprefix(SPAN)
        if name not in spans:
            hint = nearest(name, spans) if spans else "The sequence there holds one modality only."
            raise SiteError(f"{name!r} is no part of the backbone's sequence.", hint=hint)
        return Shape(host.width, spans[name].tokens)
    return sides[side]
