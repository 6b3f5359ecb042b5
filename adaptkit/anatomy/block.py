"""What one block consists of: projections and norms in order of execution, with the tensors they read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from adaptkit.anatomy.families import words
from adaptkit.anatomy.layers import norm_width, widths
from adaptkit.anatomy.probe import Call, Trace
from adaptkit.anatomy.site import Layout


@dataclass(frozen=True, slots=True)
class Projection:
    """One linear map of a block, and the call it was seen in."""

    path: str
    in_width: int
    out_width: int
    call: Call
    convolution: bool

    @property
    def word(self) -> str:
        return self.path.rsplit(".", 1)[-1]

    @property
    def parent(self) -> str:
        return self.path.rpartition(".")[0]

    @property
    def reads(self) -> int:
        """Identity of the tensor it reads; -1 where no forward ran."""
        return self.call.inputs[0] if self.call.inputs else -1


@dataclass(frozen=True, slots=True)
class Norm:
    """One norm over the stream's channels.

    Attributes:
        path: of the module.
        call: it was seen in.
        reads_stream: it reads the block's input or a residual sum, not what a branch returned.
    """

    path: str
    call: Call
    reads_stream: bool


@dataclass(frozen=True, slots=True)
class Block:
    """One block as the probe saw it.

    Attributes:
        path: of the block.
        call: of the block.
        in_width, width: channels of the stream before and after the block.
        in_layout, layout: where those channels are, before and after.
        projections, norms: in order of execution; norms over the stream only (not per head).
        inner: every call inside the block.
        weighted: paths inside the block of modules with parameters of their own.
        ran: whether a forward stands behind this, or only the tree.
    """

    path: str
    call: Call
    in_width: int
    width: int
    in_layout: Layout
    layout: Layout
    projections: tuple[Projection, ...]
    norms: tuple[Norm, ...]
    inner: tuple[Call, ...]
    weighted: frozenset[str]
    ran: bool


def read_block(modules: Mapping[str, nn.Module], trace: Trace, call: Call) -> Block | None:
    """The block behind one call, or None if it holds no projection that ran."""
    inner = tuple(trace.within(call))
    projections = tuple(
        Projection(inside.path, *found, inside, isinstance(modules[inside.path], (nn.Conv2d, nn.Conv1d)))
        for inside in inner
        if (found := widths(modules[inside.path])) and not _beside(inside, call)
    )
    if not projections:
        return None
    width, layout = _channels(call.out_shape, projections, [p.out_width for p in projections[::-1]])
    in_width, in_layout = _channels(call.in_shape, projections, [p.in_width for p in projections])
    norms = tuple(
        Norm(inside.path, inside, _reads_stream(inside, call, trace))
        for inside in inner
        if norm_width(modules[inside.path]) in (width, in_width)
    )
    weighted = frozenset(c.path for c in inner if any(True for _ in modules[c.path].parameters(recurse=False)))
    return Block(call.path, call, in_width, width, in_layout, layout, projections, norms, inner, weighted, trace.ran)


def _reads_stream(inside: Call, block: Call, trace: Trace) -> bool:
    return bool(inside.inputs) and (inside.inputs[0] in trace.adds or inside.inputs[0] in block.inputs)


def _beside(inside: Call, block: Call) -> bool:
    """On the shortcut or in a squeeze-and-excitation gate: not part of the branch that is added."""
    parts = inside.path[len(block.path) + 1 :].split(".")
    return any(part in words("shortcut") or part in words("squeeze") for part in parts)


def _channels(shape: tuple[int, ...], projections: tuple[Projection, ...], candidates: list[int]) -> tuple[int, Layout]:
    """Width and layout of a tensor of the stream; without a forward, from the projection nearest to it."""
    if len(shape) == 4:
        convolutional = all(p.convolution for p in projections) or shape[1] in candidates != shape[-1]
        return (shape[1], "bchw") if convolutional or shape[-1] not in candidates else (shape[-1], "bhwd")
    if len(shape) == 3:
        return shape[-1], "btd"
    return candidates[0], "bchw" if projections[0].convolution else "btd"
