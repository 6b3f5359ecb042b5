"""Where a stack ends: `final.out`, the last hidden states after whatever norm or projection follows the last block."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from adaptkit.anatomy.detect.block import Block, has_weights
from adaptkit.anatomy.layers import norm_width
from adaptkit.anatomy.site import Site
from adaptkit.anatomy.trace.recorder import Call, Trace


def final_site(modules: Mapping[str, nn.Module], trace: Trace, block: Block, stack: str, *, last: bool) -> Site:
    """After the norm that reads what the last block returned, else after that block.

    Maps of the last stack pass whatever else has weights before the pooling (EfficientNet: 320 -> 1280 channels;
    DenseNet: a norm over all that its blocks returned); a last norm may read another stream than the first (TNT).

    Args:
        modules: path -> module, of the whole model.
        trace: of its forward.
        block: the last of the stack.
        stack: its name.
        last: no other stack runs after it.
    """
    later = [call for call in trace.calls if call.start > block.call.end] if trace.ran else []
    readers = [call for call in later if call.inputs[:1] == (block.call.output,)]
    beyond = _beyond(modules, later, block, stack, read=bool(readers)) if last else None
    norms = (call.path for call in readers if _is_last_norm(modules, trace, call, block))
    return beyond or Site("final.out", stack, None, next(norms, block.path), "after", block.width, block.layout)


def _beyond(
    modules: Mapping[str, nn.Module], later: list[Call], block: Block, stack: str, *, read: bool
) -> Site | None:
    """What is left to pass after the last block: of maps always, of a sequence where nothing reads what it returned."""
    if block.layout in ("bchw", "bhwd"):
        return _last_map(modules, later, block, stack)
    return None if read else _last_norm(modules, later, stack)


def _last_map(modules: Mapping[str, nn.Module], later: list[Call], block: Block, stack: str) -> Site | None:
    """After the last module with weights that reads and returns maps, as all modules around it do."""
    for call in reversed(later):
        around = [outer for outer in later if outer.start <= call.start and call.end <= outer.end]
        if has_weights(modules[call.path]) and all(_keeps_maps(outer) for outer in around):
            ahead = norm_width(modules[call.path]) != call.out_shape[-1] or block.layout == "bchw"
            width = call.out_shape[1 if ahead else -1]
            return Site("final.out", stack, None, call.path, "after", width, "bchw" if ahead else "bhwd")
    return None


def _last_norm(modules: Mapping[str, nn.Module], later: list[Call], stack: str) -> Site | None:
    """After the last norm over a sequence."""
    for call in reversed(later):
        width = norm_width(modules[call.path])
        if width and len(call.out_shape) == 3 and call.out_shape[-1] == width:
            return Site("final.out", stack, None, call.path, "after", width)
    return None


def _is_last_norm(modules: Mapping[str, nn.Module], trace: Trace, call: Call, block: Block) -> bool:
    """It norms the stream alone: BLIP's last norm also norms the pooled vector."""
    return len(trace.of(call.path)) == 1 and norm_width(modules[call.path]) == block.width


def _keeps_maps(call: Call) -> bool:
    return _is_map(call.in_shape) and _is_map(call.out_shape)


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[2:] != (1, 1)
