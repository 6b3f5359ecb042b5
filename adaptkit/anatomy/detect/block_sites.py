"""The named sites of one block, in order of execution, and what has no name there."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from adaptkit.anatomy.detect.block import Block, Projection, row_layout
from adaptkit.anatomy.detect.branches import Branch, Columns
from adaptkit.anatomy.detect.hook_points import BranchPoints, HookPoint
from adaptkit.anatomy.site import Layout, Site
from adaptkit.anatomy.tables.families import words

ATTENTION = (("q", "query"), ("k", "key"), ("v", "value"), ("qkv", "fused_qkv"))


def block_sites(
    block: Block, stack: str, layer: int, branches: tuple[Branch, ...], points: tuple[BranchPoints, ...]
) -> list[Site]:
    """All sites of one layer. `block.in` is left out where the block is not given one tensor (DenseNet: a list)."""
    sites = [Site("block.in", stack, layer, block.path, "before", block.in_width, block.in_layout)]
    if block.ran and not block.call.inputs:
        sites = []
    convolutions = _convolutions(block, branches)
    for branch, own in zip(branches, points, strict=True):
        sites += _branch_sites(block, stack, layer, branch, own, convolutions)
    named = {site.path for site in sites if site.is_projection}
    for name, projection in convolutions.items():
        if projection.path not in named:
            sites.append(_weights(block, stack, layer, name, projection, None))
    sites.append(Site("block.out", stack, layer, block.path, "after", block.width, block.layout))
    return sites


def _branch_sites(
    block: Block, stack: str, layer: int, branch: Branch, points: BranchPoints, convolutions: dict[str, Projection]
) -> list[Site]:
    """Sites of one branch; a branch of convolutions has no points on the stream, but its convolutions by number."""
    entry, last = branch.firsts[0], branch.last
    entry_width, entry_layout = entry.in_width, entry.in_layout or block.in_layout
    if branch.host is not None and branch.host.in_shape:
        maps = len(branch.host.in_shape) == 4 and block.in_layout == "bchw"
        entry_width = branch.host.in_shape[1 if maps else -1]
    convolutional = branch.name.startswith("conv")

    def at(word: str, where: HookPoint, width: int, layout: Layout) -> Site:
        layout = _layout(block, where, width, layout)
        return Site(f"{branch.name}.{word}", stack, layer, where.path, where.when, width, layout, norm=where.norm)

    sites = []
    if points.stream is not None and not convolutional:
        sites.append(at("stream", points.stream, entry_width, block.in_layout))
    sites.append(at("in", points.entry, entry_width, entry_layout))
    for role, (projection, columns) in branch.roles.items():
        name = f"{branch.name}.{role.partition('#')[0]}"  # one name for all experts
        site = _weights(block, stack, layer, name, projection, columns)
        sites.append(site if projection.in_width else replace(site, in_width=None))
    if convolutional:
        for name, projection in convolutions.items():
            if branch.start <= projection.call.start <= branch.end:
                sites.append(_weights(block, stack, layer, name, projection, None))
    sites.append(at("out", points.out, last.out_width, last.layout or block.layout))
    if points.sum is not None and not convolutional:
        sites.append(at("sum", points.sum, block.width, block.layout))
    return sites


def _weights(block: Block, stack: str, layer: int, name: str, projection: Projection, columns: Columns) -> Site:
    """A projection as a site of adapters in weight space."""
    width = columns[1] - columns[0] if columns else projection.out_width
    layout = projection.layout or block.layout
    return Site(
        name, stack, layer, projection.path, "after", width, layout, columns=columns, in_width=projection.in_width
    )


def _layout(block: Block, where: HookPoint, width: int, default: Layout) -> Layout:
    """Where the channels are at a hook point: windows of a map (Swin) are tokens (B, T, D) inside an attention."""
    call = next((call for call in (*block.inner, block.call) if call.path == where.path), None)
    shape = () if call is None else call.in_shape if where.when == "before" else call.out_shape
    if len(shape) in (2, 3):
        return row_layout(shape) or "btd"
    if len(shape) != 4 or shape[1] == shape[-1]:
        return default
    return "bchw" if shape[1] == width else "bhwd"


def _convolutions(block: Block, branches: tuple[Branch, ...]) -> dict[str, Projection]:
    """`conv.1`, `conv.2`, ...: the dense convolutions that no branch has a word for, in order of execution.

    An attention amid convolutions (BoTNet) is no branch: its projections have their own words all the same.
    """
    worded = {projection.path for branch in branches for projection, _ in branch.roles.values()}
    left = {p.path: p for p in reversed(block.projections) if p.convolution and p.path not in worded}
    names: dict[str, Projection] = {}
    for projection in reversed(left.values()):
        role = next((role for role, meaning in ATTENTION if projection.word in words(meaning)), "")
        taken = f"attn.{role}" in names or any(branch.name == "attn" for branch in branches)
        number = 1 + sum(name.startswith("conv") for name in names)
        names[f"attn.{role}" if role and not taken else f"conv.{number}"] = projection
    return names


def branch_notes(branches: tuple[Branch, ...], points: tuple[BranchPoints, ...]) -> list[str]:
    """What does not exist in a block, and why."""
    notes = []
    for branch, own in zip(branches, points, strict=True):
        if branch.name.startswith("conv"):
            notes.append("conv.out is what the block's last convolution returns, before its norm and the add.")
        elif own.stream is None:
            notes.append("stream and sum sites need a forward, so there are none here.")
        elif own.sum is None:
            notes.append(f"{branch.name}.sum does not exist here: no module is between the add and its readers.")
    return notes


def unnamed(model: nn.Module, block: Block, branches: tuple[Branch, ...]) -> list[str]:
    """Matrices of a block that no branch has a word for: routers, experts, depthwise convolutions."""
    named = {p.path for branch in branches for p in (*branch.firsts, branch.last)}
    named |= {projection.path for branch in branches for projection, _ in branch.roles.values()}
    left = [
        path
        for path, module in model.get_submodule(block.path).named_modules()
        if any(p.dim() > 1 for p in module.parameters(recurse=False))
        and not isinstance(module, nn.Embedding)
        and f"{block.path}.{path}" not in named
    ]
    if not left or any(branch.name.startswith("conv") for branch in branches):
        return []
    return [f"in a block, by path only: {', '.join(left[:4])}{', ...' if len(left) > 4 else ''}."]
