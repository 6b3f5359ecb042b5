"""What a forward without values writes down: the calls of modules, what they read, and the residual adds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from adaptkit.anatomy.trace.fake_floats import FakeFloatMode

View = tuple[tuple[int, ...], tuple[int, ...], int]


@dataclass(slots=True)
class Call:
    """One call of one module.

    Attributes:
        path: the module.
        start, end: positions in the sequence of all starts and ends.
        inputs: identities of the tensors it was given, positional ones first.
        source: identity of the tensor that the first of them is, or is a view of, where a module returned it.
        output: identity of the (first) tensor it returned; -1 for none.
        in_shape, out_shape: of the first input and of the output.
        views: (sizes, strides, offset) of every view that was taken of the output: how it is split.
    """

    path: str
    start: int
    end: int = -1
    inputs: tuple[int, ...] = ()
    source: int = -1
    output: int = -1
    in_shape: tuple[int, ...] = ()
    out_shape: tuple[int, ...] = ()
    views: list[View] = field(default_factory=list)


@dataclass(slots=True)
class Trace:
    """Calls in order of their start, and the operands of every add of two tensors of one shape.

    `added` are the tensors that were an operand, whole or as a view of them (BLIP-2: the queries of a sequence).
    `ran` is False where no forward could be made: then the calls are the modules in the order of the tree, and nothing
    is known of tensors.
    """

    calls: list[Call] = field(default_factory=list)
    adds: dict[int, tuple[int, int]] = field(default_factory=dict)
    added: set[int] = field(default_factory=set)
    ran: bool = True
    why: str = ""

    def of(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.path == path]

    def within(self, outer: Call) -> list[Call]:
        """The calls between start and end of another one."""
        return [call for call in self.calls if outer.start < call.start and call.end < outer.end]


class Recorder(FakeFloatMode):
    """Writes a trace: adds of same-shaped tensors (residual adds, not biases), and who is called with what.

    Tensors are told apart by identity, so every one that was noted is kept until the trace is done.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trace = Trace()
        self.keep: list[Any] = []
        self.running: list[Call] = []
        self.owners: dict[int, Call] = {}
        self.clock = iter(range(1 << 62))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if func in (torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor):
            self.note_add(args[0], args[1], out)
        elif func.is_view and isinstance(args[0], torch.Tensor):
            self.note_view(args[0], out)
        return out

    def note_add(self, a: torch.Tensor, b: Any, total: torch.Tensor) -> None:
        """An add of two tensors of one shape."""
        if isinstance(b, torch.Tensor) and a.shape == b.shape:
            self.keep += [a, b, total]
            self.trace.adds[id(total)] = (id(a), id(b))
            owners = (self.owner(a), self.owner(b))
            self.trace.added |= {id(a), id(b), *(owner.output for owner in owners if owner)}

    def note_view(self, tensor: torch.Tensor, out: Any) -> None:
        """One view of a tensor, or several; the rows of a residual sum are that sum."""
        owner = self.owner(tensor)
        if owner is not None:
            views = out if isinstance(out, (list, tuple)) else (out,)
            owner.views += [(tuple(v.shape), v.stride(), int(v.storage_offset())) for v in views]
        if id(tensor) in self.trace.adds and _is_flattened(tensor, out):
            self.keep.append(out)
            self.trace.adds[id(out)] = self.trace.adds[id(tensor)]

    def owner(self, tensor: torch.Tensor) -> Call | None:
        """The call that returned this tensor, or what it is a view of."""
        return self.owners.get(tensor.untyped_storage()._cdata)

    def enter(self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        self.keep += tensors
        shape = tuple(tensors[0].shape) if tensors else ()
        call = Call(path, next(self.clock), inputs=tuple(map(id, tensors)), in_shape=shape)
        if tensors and (owner := self.owner(tensors[0])):
            call.source = owner.output
        self.trace.calls.append(call)
        self.running.append(call)

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        call = self.running.pop()
        call.end = next(self.clock)
        tensor = _first_tensor(output)
        if tensor is not None:
            self.keep.append(tensor)
            call.output, call.out_shape = id(tensor), tuple(tensor.shape)
            self.owners.setdefault(tensor.untyped_storage()._cdata, call)


def _is_flattened(stream: torch.Tensor, rows: Any) -> bool:
    """(B, T, D) -> (B * T, D): the same residual stream (OPT)."""
    return (
        isinstance(rows, torch.Tensor)
        and (stream.dim(), rows.dim()) == (3, 2)
        and rows.shape[-1] == stream.shape[-1]
        and rows.numel() == stream.numel()
    )


@contextlib.contextmanager
def watched(part: nn.Module, path: str, recorder: Recorder) -> Iterator[None]:
    """The recorder sees every call of every module of a part of the model."""
    hooks = []
    for name, module in part.named_modules(prefix=path):
        enter = partial(recorder.enter, name)
        hooks.append(module.register_forward_pre_hook(enter, with_kwargs=True, prepend=True))
        hooks.append(module.register_forward_hook(recorder.leave))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def from_tree(model: nn.Module, why: str) -> Trace:
    """A trace that pretends that modules run once each, in the order of the tree."""
    trace = Trace(ran=False, why=why)
    clock = iter(range(1 << 62))

    def visit(path: str, module: nn.Module) -> None:
        call = Call(path, next(clock))
        trace.calls.append(call)
        for name, child in module.named_children():
            visit(f"{path}.{name}" if path else name, child)
        call.end = next(clock)

    visit("", model)
    return trace


def _first_tensor(output: Any) -> torch.Tensor | None:
    if isinstance(output, torch.Tensor):
        return output
    values = output.values() if isinstance(output, dict) else output
    if not isinstance(output, (dict, tuple, list)):
        return None
    return next((value for value in values if isinstance(value, torch.Tensor)), None)
