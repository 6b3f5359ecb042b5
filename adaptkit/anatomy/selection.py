"""From the words of a recipe (`at`, `layers`) to sites, in order of execution."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from adaptkit.anatomy.site import MISSING, Anatomy, Site, Stack
from adaptkit.anatomy.tables.renamed import current_path
from adaptkit.errors import SiteError, nearest

Layers = str | Sequence[int]


def select(
    anatomy: Anatomy,
    at: Sequence[str],
    layers: Layers = "all",
    *,
    where: str = "",
    layers_where: str = "",
) -> tuple[Site, ...]:
    """The sites an adapter goes to.

    Args:
        anatomy: of the backbone.
        at: site names, with or without the stack's name ("decoder.attn.out"), or `path:<glob>`, where `*`
            also crosses dots.
        layers: "all", "last", "3..9" (inclusive, from 0), or a list, negative from the end. Sites of a whole
            stack (embed.in, embed.out, final.out) have no layer and are not filtered. Of a path those modules are
            meant that lie in blocks of these layers.
        where: the place of `at` in the recipe, for errors.
        layers_where: the place of `layers`; that of `at` by default.

    Raises:
        SiteError: a name that matches nothing, layers out of range or of a path in no block, or layers that share one
            module.
    """
    chosen: list[Site] = []
    for name in at:
        if name.startswith("path:"):
            chosen += _by_path(anatomy, name.removeprefix("path:"), layers, where, layers_where or where)
        else:
            chosen += _by_name(anatomy, name, layers, where, layers_where or where)
    sites = tuple(dict.fromkeys(sorted(chosen, key=lambda site: _order(anatomy, site))))
    _refuse_shared(anatomy, sites, where)
    return sites


def skipped(anatomy: Anatomy, at: Sequence[str]) -> tuple[str, ...]:
    """Names that some stacks lack, as `encoder.cross_attn.out`: skipped, and to be said."""
    known = {site.full_name for site in anatomy.sites}
    bare = {site.name for site in anatomy.sites}
    stacks = [stack.name for stack in anatomy.stacks if stack.name]
    wanted = [f"{stack}.{name}" for name in at if name in bare for stack in stacks]
    return tuple(name for name in wanted if name not in known)


def _by_name(anatomy: Anatomy, name: str, layers: Layers, where: str, layers_where: str) -> list[Site]:
    named = [site for site in anatomy.sites if name in (site.name, site.local_name)]
    if not named:
        raise _unknown(anatomy, name, where)
    stacks = {stack.name: stack for stack in anatomy.stacks}
    reached = {key: _layers(anatomy, stacks[key], layers, layers_where) for key in {site.stack for site in named}}
    matched = [site for site in named if site.layer is None or site.layer in reached[site.stack]]
    if not matched:
        message = f"layers = {_quoted(layers)} has no {name!r} in {anatomy.model}."
        raise SiteError(message, where=where, hint=f"It exists in layers {_layers_of(named)}.")
    return matched


def _layers_of(sites: Sequence[Site]) -> str:
    return ", ".join(str(layer) for layer in sorted({site.layer for site in sites if site.layer is not None}))


def _unknown(anatomy: Anatomy, name: str, where: str) -> SiteError:
    """There is no such site: why, where that is known, else what is called alike."""
    model = next((f"{site.model}." for site in anatomy.sites if site.model), "")
    known = {f"{model}{site.name}" for site in anatomy.sites} | {site.full_name for site in anatomy.sites}
    why = next((why for site, why in MISSING.items() if f".{name}".endswith(f".{site}")), None)
    hint = why or nearest(f"{model}{name}", known)
    return SiteError(f"{anatomy.model} has no site {f'{model}{name}'!r}.", where=where, hint=hint)


def _layers(anatomy: Anatomy, stack: Stack, layers: Layers, where: str) -> set[int]:
    """The layers meant, as indices from 0."""
    depth = stack.depth
    wanted = _wanted(layers, depth, where)
    if any(not -depth <= layer < depth for layer in wanted):
        of = f"{anatomy.model} {stack.name}".strip()
        raise SiteError(
            f"layers = {_quoted(layers)} goes past the last layer of {of} (0..{depth - 1}).",
            where=where,
            hint=f'Write layers = "0..{depth - 1}" or "all".',
        )
    return {layer % depth for layer in wanted}


def _wanted(layers: Layers, depth: int, where: str) -> list[int]:
    if layers == "all":
        return list(range(depth))
    if layers == "last":
        return [depth - 1]
    if not isinstance(layers, str):
        return list(layers)
    span = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", layers)
    if span is None:
        raise SiteError(
            f"layers = {_quoted(layers)} is not a choice of layers.",
            where=where,
            hint='Write "all", "last", "3..9" or a list such as [0, 4, -1].',
        )
    first, last = (bound + depth if bound < 0 else bound for bound in map(int, span.groups()))
    if first > last:
        raise SiteError(f"layers = {_quoted(layers)} is empty: {first} is after {last}.", where=where)
    return list(range(first, last + 1))


def _by_path(anatomy: Anatomy, glob: str, layers: Layers, where: str, layers_where: str) -> list[Site]:
    """Modules whose path matches, in the blocks of these layers, worked on after they ran."""
    matched = [module for module in anatomy.modules if fnmatchcase(module.path, glob)]
    if not matched:
        paths = [module.path for module in anatomy.modules]
        new = current_path(anatomy.family, glob)
        renamed = new != glob and any(fnmatchcase(path, new) for path in paths)
        hint = f'transformers 5 calls it "path:{new}".' if renamed else _nearest_path(glob, paths)
        raise SiteError(f"no module of {anatomy.model} matches path:{glob}.", where=where, hint=hint)
    sites = []
    for module in matched:
        if not module.width:
            raise SiteError(
                f"path:{module.path} returns nothing that has channels.",
                where=where,
                hint="Name a projection or a block.",
            )
        homes = _homes(anatomy, module.path)
        if layers != "all":
            if not homes:
                raise SiteError(
                    f"layers = {_quoted(layers)} has no meaning at path:{module.path}, which lies in no block.",
                    where=layers_where,
                    hint="Leave layers out, or write one table for what is outside the blocks.",
                )
            homes = [(s, n) for s, n in homes if n in _layers(anatomy, s, layers, layers_where)]
            if not homes:
                continue
        stack, layer = (homes[0][0].name, homes[0][1]) if homes else ("", None)
        sites.append(
            Site(f"path:{module.path}", stack, layer, module.path, "after", module.width, module.layout,
                 in_width=module.in_width, causal=_is_causal(anatomy, module.path))
        )  # fmt: skip
    if not sites:
        there = ", ".join(str(n) for n in sorted({n for m in matched for _, n in _homes(anatomy, m.path)}))
        raise SiteError(
            f"layers = {_quoted(layers)} has no module that matches path:{glob}.",
            where=where,
            hint=f"Those that match are in layers {there}.",
        )
    return sites


def _nearest_path(glob: str, paths: list[str]) -> str:
    """Compare with numbers folded away, so that one layer stands for all."""

    def fold(path: str) -> str:
        return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", path)

    close = difflib.get_close_matches(fold(glob), {fold(path) for path in paths}, n=1, cutoff=0.4)
    return f'Did you mean "path:{close[0]}"?' if close else "`adaptkit inspect` shows every path."


def _homes(anatomy: Anatomy, path: str) -> list[tuple[Stack, int]]:
    """The layers that a module lies in: one, or several that share it."""
    return [
        (stack, layer)
        for stack in anatomy.stacks
        for layer, block in enumerate(stack.blocks)
        if path == block or path.startswith(f"{block}.")
    ]


def _is_causal(anatomy: Anatomy, path: str) -> bool:
    """Of the stack it lies in; outside the blocks, of the nearest one in the tree, or of several that are as near."""
    near = {stack: _shared(path, stack.blocks[0]) for stack in anatomy.stacks}
    return any(stack.causal for stack, parts in near.items() if parts == max(near.values()))


def _shared(path: str, other: str) -> int:
    """How many parts two paths begin with in common."""
    pairs = zip(path.split("."), other.split("."), strict=False)
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _order(anatomy: Anatomy, site: Site) -> tuple[int, float, int]:
    """Stack, layer (embed.in and embed.out before, final.out after), then the order within the layer."""
    stacks = [stack.name for stack in anatomy.stacks]
    stack = stacks.index(site.stack) if site.stack in stacks else -1
    layer = site.layer if site.layer is not None else (-1 if site.name in ("embed.in", "embed.out") else float("inf"))
    inside = anatomy.sites.index(site) if site in anatomy.sites else len(anatomy.sites)
    return stack, layer, inside


def _refuse_shared(anatomy: Anatomy, sites: tuple[Site, ...], where: str) -> None:
    """Two layers that are one module cannot have an adapter each."""
    layers: dict[tuple[str, str], list[Site]] = {}
    for site in sites:
        layers.setdefault((site.name, site.path), []).append(site)
    for (_, path), same in layers.items():
        if len(same) > 1:
            numbers = ", ".join(str(site.layer) for site in same)
            raise SiteError(
                f"layers {numbers} of {anatomy.model} share one module ({path}).",
                where=where,
                hint=f"Choose one of them, layers = [{same[0].layer}]: its adapter then acts in all of them.",
            )


def _quoted(layers: Layers) -> str:
    return f'"{layers}"' if isinstance(layers, str) else str(list(layers))
