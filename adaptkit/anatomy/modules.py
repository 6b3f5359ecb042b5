"""Every module of a backbone with the width of what it returns, for `path:<glob>` sites."""

from __future__ import annotations

from torch import nn

from adaptkit.anatomy.layers import norm_width, widths
from adaptkit.anatomy.site import Layout, Module
from adaptkit.anatomy.trace import Trace


def list_modules(model: nn.Module, trace: Trace) -> tuple[Module, ...]:
    """All modules but the root, in the order of the tree; shapes as probed, else from the modules."""
    shapes = {call.path: call.out_shape for call in trace.calls if call.out_shape}
    listed = []
    for path, module in model.named_modules():
        if path:
            found = widths(module)
            width, layout = _returned(module, shapes.get(path, ()))
            listed.append(Module(path, width, layout, found[0] if found else None))
    return tuple(listed)


def _returned(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, Layout]:
    """Channels of what a module returns: of the last projection or norm inside it, if the shape agrees."""
    for inner in reversed(list(module.modules())):
        width = _own_width(inner)
        if width and (not shape or width in shape[1:]):
            maps = len(shape) == 4 and shape[1] == width != shape[-1]
            convolution = isinstance(inner, (nn.Conv2d, nn.BatchNorm2d))
            return width, "bchw" if maps or convolution else "bhwd" if len(shape) == 4 else "btd"
    return (shape[-1], "btd") if len(shape) == 3 else (0, "btd")


def _own_width(module: nn.Module) -> int | None:
    found = widths(module)
    if found:
        return found[1]
    return module.embedding_dim if isinstance(module, nn.Embedding) else norm_width(module)
