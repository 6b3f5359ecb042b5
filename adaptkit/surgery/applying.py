"""One adapter applied to one stream: what it reads, in which layout and precision, and what becomes of the stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit import sides
from adaptkit.adapters.base import Adapter
from adaptkit.anatomy.layout import as_layout, as_tokens
from adaptkit.anatomy.site import Layout
from adaptkit.errors import SiteError
from adaptkit.routing import Routing
from adaptkit.sides import Side, Sides
from adaptkit.surgery import observing
from adaptkit.surgery.hosts import oriented

# B batch, T tokens, D width, C channels, H height, W width of a map

# Where an adapter's second input comes from: the stream itself, the stream through the host's own norm (Pfeiffer),
# the input of the host's projection (LoRA), or another place of the same branch (parallel adapters).
Reads = Literal["site", "norm", "input", "elsewhere"]

HERE = "."  # no path of a module


@dataclass(frozen=True, slots=True)
class SideBinding:
    """Where one side of an adapter comes from.

    Attributes:
        key: what the adapter calls it.
        source: laid out for the forward, a span of the stream, a block of another tower, or another adapter.
        target: modality, span, address of the block, or name of the adapter.
    """

    key: str
    source: Literal["modality", "span", "tower", "adapter"]
    target: str


@dataclass(frozen=True, slots=True)
class Binding:
    """What the hook must know of one adapter at one host.

    Attributes:
        when: "before" changes the host's input, "after" its output, "sequence" the tokens of a whole stack,
            "attention" the keys and values of an attention, "experts" one of the weights of fused experts.
        reads: where its second input comes from.
        layout: of the stream at the host.
        columns: of a fused projection that are the adapter's.
        parameter: of fused experts that is the adapter's.
        stack: whose mask goes with the stream.
        sides: its sides.
        elsewhere: (path, layout) of the other places it reads; HERE for what its own host returns.
        own_layout: it works on what the host itself sees (weight space), not on tokens.
        causal: no token of the stream sees a later one; its rows may be several continuations of each sample.
        earlier: it is told which tokens came before those of the stream.
        moved: by how much it moves the positions of its stack.
        held: its change goes to the adapter of the same host that combines it, not into the stream.
    """

    when: Literal["before", "after", "sequence", "attention", "experts"]
    reads: Reads = "site"
    layout: Layout = "btd"
    columns: tuple[int, int] | None = None
    parameter: str = ""
    stack: str = ""
    sides: tuple[SideBinding, ...] = ()
    elsewhere: tuple[tuple[str, Layout], ...] = ()
    own_layout: bool = False
    causal: bool = False
    earlier: bool = False
    moved: int = 0
    held: bool = False


def apply_adapter(
    name: str, adapter: Adapter, binding: Binding, module: nn.Module, z: Tensor, h: Tensor, changes: dict[str, Tensor]
) -> Tensor:
    """The stream after one adapter, in the stream's own layout and precision.

    Args:
        name: of the adapter.
        adapter: a child of the host.
        binding: of the adapter to this host.
        module: the host.
        z: what the host reads, for adapters in weight space.
        h: the stream.
        changes: name -> (B, T, D), what adapters that are held changed; a held one adds its own.
    """
    dtype = next((parameter.dtype for parameter in adapter.parameters()), h.dtype)
    start, stop = binding.columns or (0, h.shape[-1])
    part = h if binding.columns is None else h[..., start:stop]
    if binding.own_layout:
        check_rows(binding, part)
    if binding.own_layout:
        stream, reading = part, z if binding.reads == "input" else part
    else:
        mask = sides.mask(binding.stack)
        stream = by_sample(as_tokens(part, binding.layout), mask)
        reading = by_sample(what_it_reads(adapter, binding, module, part), mask)
    given = what_is_given(adapter, binding, stream, changes)
    if adapter.reads_weight:
        weight, bias = oriented(module, binding.columns)
        given.weight = weight.detach().to(dtype)
        given.bias = None if bias is None else bias.detach().to(dtype)
    reading = reading.to(dtype) if reading.is_floating_point() else reading  # token ids stay what they are
    if binding.reads == "elsewhere" and reading.shape[:-1] != stream.shape[:-1]:
        raise SiteError(
            f"it reads {tuple(reading.shape[:-1])} vectors elsewhere and writes to {tuple(stream.shape[:-1])}.",
            hint='Write read = "site": its branch changes the number of tokens.',
        )
    seen = observing.running()
    if binding.held:
        changes[name] = adapter.delta(reading, given)
        if seen is not None:
            seen.add(module, name, changes[name], stream, counted(binding, given, stream))
        return h
    changed = adapter(stream.to(dtype), reading, given).to(h.dtype)
    if seen is not None and (change := change_of(adapter, stream, changed, reading, given)) is not None:
        seen.add(module, name, change, stream, counted(binding, given, stream))
    if not binding.own_layout:
        changed = as_layout(changed, part, binding.layout)
    if binding.columns is None:
        return changed
    return torch.cat([h[..., :start], changed, h[..., stop:]], dim=-1)


def check_rows(binding: Binding, part: Tensor) -> None:
    """Raise SiteError where the samples of several tasks cannot be told apart in what a projection returns."""
    if not isinstance(sides.read(()).task, Routing):
        return
    mask = sides.mask(binding.stack)
    flat = part.dim() == 2 and mask is not None and len(part) not in (len(mask), mask.numel())
    if flat or (binding.layout == "tbd" and part.dim() == 3):
        raise SiteError(
            f"this projection returns {tuple(part.shape)}, whose rows are not the samples of the batch.",
            hint="Give the tasks one after another, or choose a site of the stream such as mlp.out.",
        )


def change_of(adapter: Adapter, stream: Tensor, changed: Tensor, reading: Tensor, given: Sides) -> Tensor | None:
    """What an adapter did to a stream; of one that returns another number of tokens, what it adds, if it adds."""
    if changed.shape == stream.shape:
        return changed.float() - stream.float()
    try:
        return adapter.delta(reading, given)
    except NotImplementedError:
        return None  # it puts something else in place of the stream


def counted(binding: Binding, given: Sides, stream: Tensor) -> Tensor | None:
    """(B, T) bool, the tokens of a stream that count; None for all, and where it is no sequence of tokens."""
    if not binding.own_layout:
        return given.mask
    mask = sides.mask(binding.stack)
    fits = mask is not None and binding.layout == "btd" and stream.dim() == 3 and mask.shape == stream.shape[:2]
    return mask if fits else None


def what_it_reads(adapter: Adapter, binding: Binding, module: nn.Module, part: Tensor) -> Tensor:
    """(B, T, D'): the stream, or what the binding names instead."""
    if binding.reads == "norm":
        return as_tokens(module.forward(part), binding.layout)  # the host's own norm, without its hooks
    if binding.reads == "elsewhere" and not adapter.reads_blocks:
        ((path, layout),) = binding.elsewhere
        return as_tokens(taken(adapter, path), layout)
    return as_tokens(part, binding.layout)


def what_is_given(adapter: Adapter, binding: Binding, stream: Tensor, changes: dict[str, Tensor]) -> Sides:
    """The sides of an adapter, from wherever they come, in its order."""
    laid_out = sides.read(tuple(w.target for w in binding.sides if w.source == "modality"), binding.stack)
    given = Sides()
    given.task = laid_out.task
    if binding.own_layout:
        return given
    given.mask, extra = mask_of(stream, grown(laid_out.mask, stream) if binding.causal else laid_out.mask)
    if binding.earlier:
        seen, given.before = sides.counted(binding.stack, stream.shape[1])
        given.mask = seen if given.mask is None or given.before is not None else given.mask
    for side_binding in binding.sides:
        match side_binding.source:
            case "modality":
                side = laid_out[side_binding.target]
            case "span":
                side = sides.span(side_binding.target, stream, given.mask, extra)
            case "tower":
                side = sides.captured(side_binding.target)
            case "adapter":
                side = Side.of(changes[side_binding.target])
        given[side_binding.key] = per_row(side, stream, side_binding.key)
    if adapter.reads_blocks:
        given.blocks = tuple(
            (stream if path == HERE else as_tokens(taken(adapter, path), layout)).detach()
            for path, layout in binding.elsewhere
        )
    return given


def by_sample(x: Tensor, mask: Tensor | None) -> Tensor:
    """(B·T, D) -> (B, T, D): some blocks (OPT's) lay the tokens of all samples in one row."""
    if x.dim() != 2 or mask is None or len(x) % len(mask):
        return x
    return torch.unflatten(x, 0, (len(mask), -1))


def mask_of(stream: Tensor, mask: Tensor | None) -> tuple[Tensor | None, int]:
    """The mask of a stream, and how many tokens a prompt put before it. Windows and pooled streams have no mask."""
    if mask is None or stream.dim() != 3 or mask.shape[0] != stream.shape[0] or mask.shape[1] > stream.shape[1]:
        return None, 0
    extra = stream.shape[1] - mask.shape[1]
    return (mask if extra == 0 else functional.pad(mask, (extra, 0), value=True)), extra


def grown(mask: Tensor | None, stream: Tensor) -> Tensor | None:
    """The mask of the samples in a generation: with a row for each of their continuations, and all new tokens in it."""
    if mask is None or stream.dim() != 3 or len(stream) % len(mask):
        return mask
    mask = mask.repeat_interleave(len(stream) // len(mask), dim=0)
    return functional.pad(mask, (0, max(stream.shape[1] - mask.shape[1], 0)), value=True)


def per_row(side: Side, stream: Tensor, name: str) -> Side:
    """The side of every row of the stream: windows and frames of a sample follow each other, and share its sides.

    Raises:
        SiteError: the rows of the stream are not samples, nor parts of them.
    """
    rows, samples = stream.shape[0], side.tensor.shape[0]
    if stream.dim() != 3 or rows % samples:
        raise SiteError(
            f"the stream here has shape {tuple(stream.shape)}, and the side {name!r} has {samples} samples.",
            hint="Choose a site whose rows are samples, such as block.out.",
        )
    if rows == samples:
        return side
    return Side(*(x.repeat_interleave(rows // samples, dim=0) for x in (side.tensor, side.mask, side.present)))


def taken(adapter: Adapter, path: str) -> Tensor:
    """What another place showed the adapter; forgotten at once, because a kept tensor would hold its graph."""
    assert path in adapter.captured, f"{path} runs before the adapter that reads it"
    return adapter.captured.pop(path)


def first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The tensor a module works on: its first argument, which some models pass by keyword."""
    if args and isinstance(args[0], Tensor):
        return args[0]
    return next(value for value in kwargs.values() if isinstance(value, Tensor))


def output_tensor(output: Any) -> Tensor:
    """What a module returns: a tensor, or the first of a tuple or ModelOutput."""
    return output if isinstance(output, Tensor) else output[0]
