"""The module tree as data: every module with what it returns, and like neighbours folded (`layer.0-11`) to print."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from adaptkit.anatomy.layers import norm_width, widths
from adaptkit.anatomy.site import Layout, Module, Site
from adaptkit.anatomy.trace.recorder import Trace


@dataclass(frozen=True, slots=True)
class Node:
    """One line of the folded tree.

    Attributes:
        name: last part of the path; `0-11` for twelve neighbours that are alike.
        path: of the module (of the first one, where several are folded), for look-ups.
        folded_path: with every folded part as it is shown, `encoder.layer.0-11.output.dense`.
        kind: class name.
        parameters: number of parameters inside ONE of the folded modules.
        count: how many modules this line stands for, counting folded parents.
        shape: "768 -> 3072" for a projection, else "".
        sites: names of the sites hosted here (of one of the folded modules), in order of execution.
        children: in order of the tree.
    """

    name: str
    path: str
    folded_path: str
    kind: str
    parameters: int
    count: int
    shape: str
    sites: tuple[str, ...]
    children: tuple[Node, ...]


def tree(model: nn.Module, sites: Iterable[Site] = ()) -> Node:
    """The folded tree of a model; nothing is folded that differs in classes, shapes or sites.

    Args:
        model: on any device.
        sites: shown where they are hosted: all of an anatomy, or those a plan grafts.
    """
    hosted: dict[str, list[str]] = {}
    for site in sites:
        # embed.out and final.out may sit on the first and last block: shown, they would keep it from folding.
        on_a_block = site.layer is None and _is_numbered(site.path)
        if not on_a_block and site.full_name not in hosted.get(site.path, ()):
            hosted.setdefault(site.path, []).append(site.full_name)
    return _node(model, "", "", "", 1, hosted)


def _node(module: nn.Module, name: str, path: str, folded_path: str, count: int, hosted: dict[str, list[str]]) -> Node:
    children = []
    for first, last, child in _runs(module, path, hosted):
        shown = first if first == last else f"{first}-{last}"
        many = 1 if first == last else int(last) - int(first) + 1
        below = f"{path}.{first}" if path else first
        folded_below = f"{folded_path}.{shown}" if folded_path else shown
        children.append(_node(child, shown, below, folded_below, count * many, hosted))
    return Node(
        name=name,
        path=path,
        folded_path=folded_path,
        kind=type(module).__name__,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        count=count,
        shape=_shape(module),
        sites=tuple(hosted.get(path, ())),
        children=tuple(children),
    )


def _runs(module: nn.Module, path: str, hosted: dict[str, list[str]]) -> list[tuple[str, str, nn.Module]]:
    """Children as (first name, last name, first child); neighbours that print alike are one."""
    runs: list[tuple[str, str, nn.Module]] = []
    previous = ""
    for name, child in module.named_children():
        signature = _signature(child, f"{path}.{name}" if path else name, hosted)
        if runs and signature == previous and name.isdigit() and int(name) == int(runs[-1][1]) + 1:
            runs[-1] = (runs[-1][0], name, runs[-1][2])
        else:
            runs.append((name, name, child))
        previous = signature
    return runs


def _signature(module: nn.Module, path: str, hosted: dict[str, list[str]]) -> str:
    """Equal for modules that would print alike: classes, parameter shapes and sites, all the way down."""
    digest = hashlib.sha256()
    for name, inner in module.named_modules(remove_duplicate=False):
        full = f"{path}.{name}" if name else path
        shapes = [tuple(p.shape) for p in inner.parameters(recurse=False)]
        digest.update(f"{name}|{type(inner).__name__}|{shapes}|{hosted.get(full, ())}\n".encode())
    return digest.hexdigest()


def _is_numbered(path: str) -> bool:
    return path.rsplit(".", 1)[-1].isdigit()


def _shape(module: nn.Module) -> str:
    """`768 -> 3072`: channels in and out, of a projection or an embedding."""
    if found := widths(module):
        return f"{found[0]} -> {found[1]}"
    if isinstance(module, nn.Embedding):
        return f"{module.num_embeddings} -> {module.embedding_dim}"
    width = norm_width(module)
    return str(width) if width else ""


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
