"""What one block consists of: projections and norms in order of execution, with the tensors they read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod

from torch import nn

from adaptkit.anatomy.layers import norm_width, widths
from adaptkit.anatomy.site import Layout
from adaptkit.anatomy.tables.families import words
from adaptkit.anatomy.trace.dummy import BATCH
from adaptkit.anatomy.trace.recorder import Call, Trace, View

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True, slots=True)
class Projection:
    """One linear map of a block, and the call it was seen in.

    Attributes:
        path: of the module.
        in_width, out_width: channels.
        call: it was seen in.
        convolution: it is a Conv1d or Conv2d.
        pointwise: a convolution that sees one position at a time (kernel size 1).
        reads_stream: it reads the block's input or a residual sum of the stream's width, with no norm between.
    """

    path: str
    in_width: int
    out_width: int
    call: Call
    convolution: bool = False
    pointwise: bool = False
    reads_stream: bool = False

    @property
    def _named(self) -> list[str]:
        """The path up to the part that says what it is: `attn.qkv` of `attn.qkv.linear`, `query` of `query.proj`."""
        parts = self.path.split(".")
        roles = (word for role in ("query", "key", "value", "fused_qkv") for word in words(role))
        inside = len(parts) > 1 and (parts[-1] in words("wrapped") or parts[-2] in roles)
        return parts[:-1] if inside else parts

    @property
    def word(self) -> str:
        return self._named[-1]

    @property
    def parent(self) -> str:
        return ".".join(self._named[:-1])

    @property
    def layout(self) -> Layout | None:
        """Where the channels of what it returns are; None where no forward ran."""
        if self.convolution:
            return "bchw"
        return row_layout(self.call.out_shape)

    @property
    def in_layout(self) -> Layout | None:
        """Where the channels of what it reads are; None where no forward ran."""
        return "bchw" if self.convolution else row_layout(self.call.in_shape)

    def splits_into(self, slices: Iterable[tuple[int, int]]) -> bool:
        """The forward took these ranges of columns of what it returns.

        Where it took no part that tells: True, unless a norm follows inside the module that bears the name (LeViT).
        """
        shape = self.call.out_shape
        whole = prod(shape)
        parts = [_columns(view, shape[-1]) for view in self.call.views if prod(view[0]) < whole]
        parts = [part for part in parts if len(part) < shape[-1]]
        if not parts:
            return self._named == self.path.split(".")
        return all(frozenset(range(*each)) in parts for each in slices)

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
        spatial: those of them that mix positions (convolutions of larger kernels, depthwise ones too).
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
    spatial: frozenset[str]
    ran: bool


def read_block(modules: Mapping[str, nn.Module], trace: Trace, call: Call) -> Block | None:
    """The block behind one call, or None if it holds no projection that ran."""
    inner = tuple(trace.within(call))
    projections = _projections(modules, call, inner)
    if not projections:
        return None
    width, layout = _channels(call.out_shape, projections, [p.out_width for p in projections[::-1]])
    in_width, in_layout = _channels(call.in_shape, projections, [p.in_width for p in projections])
    weighted = frozenset(c.path for c in inner if has_weights(modules[c.path]))
    return Block(
        path=call.path,
        call=call,
        in_width=in_width,
        width=width,
        in_layout=in_layout,
        layout=layout,
        projections=_marked(projections, call, trace, (in_width, width)),
        norms=_norms(modules, call, trace, inner, (in_width, width)),
        inner=inner,
        weighted=weighted,
        spatial=frozenset(path for path in weighted if _mixes_positions(modules[path])),
        ran=trace.ran,
    )


def has_weights(module: nn.Module) -> bool:
    """It has parameters of its own, besides those of modules inside it."""
    return any(True for _ in module.parameters(recurse=False))


def _projections(modules: Mapping[str, nn.Module], block: Call, inner: Sequence[Call]) -> list[Projection]:
    """The linear maps of a block in the order of their first call (SEW-D has several), without its side ways."""
    candidates = [block] if widths(modules[block.path]) else inner  # a network of nothing but convolutions
    found = [
        _projection(modules[call.path], call)
        for call in candidates
        if widths(modules[call.path]) and not _beside(call, block) and not _is_gate(modules[call.path], call, block)
    ]
    # Beside others, a convolution over (B, C, T) has its channels where no layout has a word for them.
    found = [p for p in found if not isinstance(modules[p.path], nn.Conv1d)] or found
    return list({p.path: p for p in found[::-1]}.values())[::-1]


def _marked(
    projections: Sequence[Projection], block: Call, trace: Trace, stream_widths: tuple[int, int]
) -> tuple[Projection, ...]:
    """With a mark on those that read the stream itself."""
    stream = {*block.inputs, *trace.adds} if trace.ran else set()
    return tuple(replace(p, reads_stream=p.reads in stream and p.in_width in stream_widths) for p in projections)


def _norms(
    modules: Mapping[str, nn.Module], block: Call, trace: Trace, inner: Sequence[Call], stream_widths: tuple[int, int]
) -> tuple[Norm, ...]:
    """The norms over the stream's channels; those of single heads are narrower."""
    return tuple(
        Norm(call.path, call, _reads_stream(call, block, trace))
        for call in inner
        if norm_width(modules[call.path], call.in_shape) in stream_widths
    )


@cache
def _columns(view: View, width: int) -> frozenset[int]:
    """The columns of a contiguous (..., width) tensor that a view of it reaches."""
    sizes, strides, offset = view
    reached = {offset % width}
    for size, stride in zip(sizes, strides, strict=True):
        if stride % width:
            reached = {(column + i * stride) % width for column in reached for i in range(min(size, width))}
    return frozenset(reached)


def _mixes_positions(module: nn.Module) -> bool:
    return isinstance(module, CONVOLUTIONS) and set(module.kernel_size) != {1}


def _projection(module: nn.Module, call: Call) -> Projection:
    in_width, out_width = widths(module) or (0, 0)
    convolution = isinstance(module, CONVOLUTIONS)
    pointwise = convolution and not _mixes_positions(module)
    return Projection(call.path, in_width, out_width, call, convolution, pointwise)


def _is_gate(module: nn.Module, inside: Call, block: Call) -> bool:
    """It reads no map but one vector per image (squeeze and excitation), or draws a map of one channel."""
    if len(block.in_shape or block.out_shape) != 4:
        return False
    around = (block.in_shape or block.out_shape)[-2:]
    pooled = len(inside.in_shape) == 2 or (inside.in_shape[-2:] == (1, 1) and tuple(around) != (1, 1))
    return pooled or 1 in (widths(module) or ())


def row_layout(shape: tuple[int, ...]) -> Layout | None:
    """Of a tensor whose channels come last; None for other shapes than sequences and maps."""
    if len(shape) == 3:
        return "tbd" if shape[1] == BATCH != shape[0] else "btd"
    return "bhwd" if len(shape) == 4 else None


def _reads_stream(inside: Call, block: Call, trace: Trace) -> bool:
    return bool(inside.inputs) and (inside.inputs[0] in trace.adds or inside.inputs[0] in block.inputs)


def _beside(inside: Call, block: Call) -> bool:
    """On the shortcut or in a squeeze-and-excitation gate: not part of the branch that is added."""
    parts = inside.path[len(block.path) + 1 :].split(".")
    return any(part in words("shortcut") or part in words("squeeze") for part in parts)


def _channels(shape: tuple[int, ...], projections: Sequence[Projection], candidates: list[int]) -> tuple[int, Layout]:
    """Width and layout of a tensor of the stream; without a forward, from the projection nearest to it."""
    if len(shape) == 4:
        ahead = shape[1] in candidates and shape[-1] not in candidates
        convolutional = all(p.convolution for p in projections) or ahead
        return (shape[1], "bchw") if convolutional or shape[-1] not in candidates else (shape[-1], "bhwd")
    if len(shape) == 3:
        return shape[-1], row_layout(shape) or "btd"
    return candidates[0], "bchw" if projections[0].convolution else "btd"
