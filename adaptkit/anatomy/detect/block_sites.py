"""The named sites of one block, in order of execution, and what has no name there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from adaptkit.anatomy.detect.attention import WORDS
from adaptkit.anatomy.detect.block import Block, Projection, row_layout
from adaptkit.anatomy.detect.branch import Branch, Columns
from adaptkit.anatomy.detect.hook_points import BranchPoints, HookPoint
from adaptkit.anatomy.site import Layout, Site
from adaptkit.anatomy.tables.families import words


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer whose sites get their names.

    Attributes:
        block: as the probe saw it.
        stack: name of its stack.
        number: of the layer.
    """

    block: Block
    stack: str
    number: int

    def on_stream(self, name: str, point: HookPoint, width: int, layout: Layout) -> Site:
        """A site of activations."""
        layout = _layout(self.block, point, width, layout)
        return Site(name, self.stack, self.number, point.path, point.when, width, layout, norm=point.norm)

    def of_weights(self, name: str, projection: Projection, columns: Columns = None) -> Site:
        """A projection as a site of adapters in weight space; experts in one tensor are none."""
        width = columns[1] - columns[0] if columns else projection.out_width
        layout, in_width = projection.layout or self.block.layout, projection.in_width or None
        path = projection.path
        return Site(name, self.stack, self.number, path, "after", width, layout, columns=columns, in_width=in_width)


def block_sites(
    block: Block, stack: str, layer: int, branches: tuple[Branch, ...], points: tuple[BranchPoints, ...]
) -> list[Site]:
    """All sites of one layer. `block.in` is left out where the block is not given one tensor (DenseNet: a list)."""
    of, sites = Layer(block, stack, layer), []
    if block.call.inputs or not block.ran:
        sites.append(Site("block.in", stack, layer, block.path, "before", block.in_width, block.in_layout))
    convolutions = _convolutions(block, branches)
    for branch, own in zip(branches, points, strict=True):
        sites += _conv_sites(of, branch, own, convolutions) if _is_conv(branch) else _branch_sites(of, branch, own)
    named = {site.path for site in sites if site.is_projection}
    sites += [of.of_weights(name, p) for name, p in convolutions.items() if p.path not in named]
    sites.append(Site("block.out", stack, layer, block.path, "after", block.width, block.layout))
    return sites


def _is_conv(branch: Branch) -> bool:
    return branch.name.startswith("conv")


def _branch_sites(of: Layer, branch: Branch, points: BranchPoints) -> Iterator[Site]:
    """Four places on the stream, and the projections between them."""
    width, _ = _entry_shape(of.block, branch)
    if points.stream is not None:
        yield of.on_stream(f"{branch.name}.stream", points.stream, width, of.block.in_layout)
    yield _in(of, branch, points)
    for role, (projection, columns) in branch.roles.items():
        yield of.of_weights(f"{branch.name}.{role.partition('#')[0]}", projection, columns)  # one name for all experts
    yield _out(of, branch, points)
    if points.sum is not None:
        yield of.on_stream(f"{branch.name}.sum", points.sum, of.block.width, of.block.layout)


def _conv_sites(of: Layer, branch: Branch, points: BranchPoints, convolutions: dict[str, Projection]) -> Iterator[Site]:
    """A branch of convolutions has no points on the stream, but its convolutions by number."""
    yield _in(of, branch, points)
    for name, projection in convolutions.items():
        if branch.start <= projection.call.start <= branch.end:
            yield of.of_weights(name, projection)
    yield _out(of, branch, points)


def _in(of: Layer, branch: Branch, points: BranchPoints) -> Site:
    return of.on_stream(f"{branch.name}.in", points.entry, *_entry_shape(of.block, branch))


def _out(of: Layer, branch: Branch, points: BranchPoints) -> Site:
    last = branch.last
    return of.on_stream(f"{branch.name}.out", points.out, last.out_width, last.layout or of.block.layout)


def _entry_shape(block: Block, branch: Branch) -> tuple[int, Layout]:
    """Width and layout of what a branch reads: what its module is given, else what its first projection reads."""
    entry = branch.firsts[0]
    layout = entry.in_layout or block.in_layout
    if branch.host is None or not branch.host.in_shape:
        return entry.in_width, layout
    maps = len(branch.host.in_shape) == 4 and block.in_layout == "bchw"
    return branch.host.in_shape[1 if maps else -1], layout


def _layout(block: Block, point: HookPoint, width: int, default: Layout) -> Layout:
    """Where the channels are at a hook point: windows of a map (Swin) are tokens (B, T, D) inside an attention."""
    call = next((call for call in (*block.inner, block.call) if call.path == point.path), None)
    shape = () if call is None else call.in_shape if point.when == "before" else call.out_shape
    if len(shape) in (2, 3):
        return row_layout(shape) or "btd"
    if len(shape) != 4 or shape[1] == shape[-1]:
        return default
    return "bchw" if shape[1] == width else "bhwd"


def _worded(branches: tuple[Branch, ...]) -> set[str]:
    """Paths of the projections that a branch has a word for."""
    return {projection.path for branch in branches for projection, _ in branch.roles.values()}


def _convolutions(block: Block, branches: tuple[Branch, ...]) -> dict[str, Projection]:
    """`conv.1`, `conv.2`, ...: the dense convolutions that no branch has a word for, in order of execution.

    An attention amid convolutions (BoTNet) is no branch: its projections have their own words all the same.
    """
    worded, names = _worded(branches), {}
    attention = any(branch.name == "attn" for branch in branches)
    for projection in (p for p in block.projections if p.convolution and p.path not in worded):
        role = "" if attention else next((role for role, word in WORDS if projection.word in words(word)), "")
        taken = not role or f"attn.{role}" in names
        number = 1 + sum(name.startswith("conv") for name in names)
        names[f"conv.{number}" if taken else f"attn.{role}"] = projection
    return names


def branch_notes(branches: tuple[Branch, ...], points: tuple[BranchPoints, ...]) -> list[str]:
    """What does not exist in a block, and why."""
    notes = []
    for branch, own in zip(branches, points, strict=True):
        if _is_conv(branch):
            notes.append("conv.out is what the block's last convolution returns, before its norm and the add.")
        elif own.stream is None:
            notes.append("stream and sum sites need a forward, so there are none here.")
        elif own.sum is None:
            notes.append(f"{branch.name}.sum does not exist here: no module is between the add and its readers.")
    return notes


def unnamed(model: nn.Module, block: Block, branches: tuple[Branch, ...]) -> list[str]:
    """Matrices of a block that no branch has a word for: routers, experts, depthwise convolutions."""
    named = _worded(branches) | {p.path for branch in branches for p in (*branch.firsts, branch.last)}
    left = [path for path in _matrices(model, block) if f"{block.path}.{path}" not in named]
    if not left or any(_is_conv(branch) for branch in branches):
        return []
    return [f"in a block, by path only: {', '.join(left[:4])}{', ...' if len(left) > 4 else ''}."]


def _matrices(model: nn.Module, block: Block) -> list[str]:
    """Paths within a block of what holds a matrix that is no table of embeddings."""
    return [
        path
        for path, module in model.get_submodule(block.path).named_modules()
        if any(p.dim() > 1 for p in module.parameters(recurse=False)) and not isinstance(module, nn.Embedding)
    ]
