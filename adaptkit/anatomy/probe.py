"""One forward without values: who is called when, on which tensor, and where the residual adds are.

The forward runs on the meta device, also for a model that holds weights: its parameters are replaced by meta
tensors for the call only, so that a probe costs no arithmetic and no memory.
"""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from adaptkit.anatomy.dummy import dummy_inputs
from adaptkit.anatomy.forms import inner_forms, native_forms
from adaptkit.anatomy.valueless import Valueless

# The implementation of attentions that carry prefixes. It calls what the model's own configuration names.
PREFIXED = "adaptkit_prefix"


View = tuple[tuple[int, ...], tuple[int, ...], int]


@dataclass(slots=True)
class Call:
    """One call of one module.

    Attributes:
        path: the module.
        start, end: positions in the sequence of all starts and ends.
        inputs: identities of the tensors it was given, positional ones first.
        output: identity of the (first) tensor it returned; -1 for none.
        in_shape, out_shape: of the first input and of the output.
        views: (sizes, strides, offset) of every view that was taken of the output: how it is split.
    """

    path: str
    start: int
    end: int = -1
    inputs: tuple[int, ...] = ()
    output: int = -1
    in_shape: tuple[int, ...] = ()
    out_shape: tuple[int, ...] = ()
    views: list[View] = field(default_factory=list)


@dataclass(slots=True)
class Trace:
    """Calls in order of their start, and the operands of every add of two tensors of one shape.

    `ran` is False where no forward could be made: then the calls are the modules in the order of the tree,
    and nothing is known of tensors.
    """

    calls: list[Call] = field(default_factory=list)
    adds: dict[int, tuple[int, int]] = field(default_factory=dict)
    ran: bool = True
    why: str = ""

    def of(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.path == path]

    def within(self, outer: Call) -> list[Call]:
        """The calls between start and end of another one."""
        return [call for call in self.calls if outer.start < call.start and call.end < outer.end]


class _Recorder(Valueless):
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
            a, b = args[:2]
            if isinstance(b, torch.Tensor) and a.shape == b.shape:
                self.keep += [a, b, out]
                self.trace.adds[id(out)] = (id(a), id(b))
        elif func.is_view and isinstance(args[0], torch.Tensor):
            owner = self.owners.get(args[0].untyped_storage()._cdata)
            if owner is not None:
                views = out if isinstance(out, (list, tuple)) else (out,)
                owner.views += [(tuple(v.shape), v.stride(), int(v.storage_offset())) for v in views]
        return out

    def enter(self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        self.keep += tensors
        shape = tuple(tensors[0].shape) if tensors else ()
        call = Call(path, next(self.clock), inputs=tuple(map(id, tensors)), in_shape=shape)
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


def probe(model: nn.Module) -> Trace:
    """Run the model once without data. Never fails: where no forward can be made, the trace says why."""
    return _first_to_run(model, "", _whole(model), [])


def probe_stack(model: nn.Module, blocks: Sequence[str], widths: Mapping[str, int]) -> Trace:
    """Run the part of a model that holds a stack of blocks: the largest part that runs alone, else block by block.

    Args:
        model: the whole.
        blocks: paths of the stack.
        widths: path of a block -> channels of what it reads.
    """
    why = ""
    for path in _around(blocks):
        part = model.get_submodule(path)
        if type(part) in (nn.ModuleList, nn.ModuleDict):
            continue
        for forms in (native_forms(part), inner_forms(part, widths[blocks[0]])):
            trace = _first_to_run(model, path, forms, blocks)
            if trace.ran:
                return trace
            why = why or trace.why
    try:
        return _record(model, list(zip(blocks, _of_blocks(model, blocks, widths), strict=True)))
    except Exception as error:
        return from_tree(model, why or _first_line(error))


def _first_to_run(model: nn.Module, path: str, forms: Iterable[dict[str, Any]], blocks: Sequence[str]) -> Trace:
    """The trace of the first of these inputs that a part runs with, and with which one of these blocks runs."""
    complaints: list[tuple[str, ...]] = []
    for form in forms:
        if complaints.count((complaints[-1][0], *form) if complaints else ()) > 2:
            continue  # with these arguments the same thing three times: it is not for their shapes
        try:
            trace = _record(model, [(path, form)])
        except Exception as error:  # any architecture may refuse zeros; the next guess, or the tree, then speaks
            complaints.append((_first_line(error), *form))
        else:
            if not blocks or any(call.path in blocks for call in trace.calls):
                return trace
    return from_tree(model, complaints[0][0] if complaints else "")


def _whole(model: nn.Module) -> Iterator[dict[str, Any]]:
    with contextlib.suppress(ValueError):
        yield dummy_inputs(model)
    if hasattr(model, "config"):
        yield from native_forms(model)


def _around(blocks: Sequence[str]) -> list[str]:
    """Paths of the modules that hold all of these blocks, the largest first, without the whole model."""
    columns = zip(*(path.split(".")[:-1] for path in blocks), strict=False)
    shared = [column[0] for column in itertools.takewhile(lambda column: len(set(column)) == 1, columns)]
    return [".".join(shared[:length]) for length in range(1, len(shared) + 1)]


def _of_blocks(model: nn.Module, blocks: Sequence[str], widths: Mapping[str, int]) -> list[dict[str, Any]]:
    """Arguments each block runs with; blocks of one class and width take the same.

    Raises:
        ValueError: one refuses all guesses.
    """
    known: dict[tuple[type, int], dict[str, Any]] = {}
    forms = []
    for path in blocks:
        block = model.get_submodule(path)
        kind = type(block), widths[path]
        if kind not in known:
            known[kind] = next((form for form in inner_forms(block, widths[path]) if _runs(model, path, form)), {})
        if not known[kind]:
            raise ValueError(f"{path} takes nothing that is known")
        forms.append(known[kind])
    return forms


def _runs(model: nn.Module, path: str, form: dict[str, Any]) -> bool:
    try:
        _record(model, [(path, form)])
    except Exception:  # as above
        return False
    return True


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error) or '?').strip().splitlines()[0]}"


def _record(model: nn.Module, runs: Sequence[tuple[str, dict[str, Any]]]) -> Trace:
    """The trace of running these parts of the model one after another."""
    recorder = _Recorder()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for path, inputs in runs:
            part = model.get_submodule(path)
            with runnable_on_meta(part), _watched(part, path, recorder), recorder:
                functional_call(part, _meta_tensors(part), kwargs=inputs, strict=False, tie_weights=False)
    return recorder.trace


@contextlib.contextmanager
def _watched(part: nn.Module, path: str, recorder: _Recorder) -> Iterator[None]:
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


@contextlib.contextmanager
def runnable_on_meta(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and attention that never looks at mask values, for a forward on the meta device."""
    training = {module: module.training for module in model.modules()}
    configs: dict[int, Any] = {}
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if getattr(config, "_attn_implementation", PREFIXED) != PREFIXED:
            configs[id(config)] = config
    attention = [(config, config._attn_implementation) for config in configs.values()]
    try:
        model.eval()
        for config, _ in attention:
            config._attn_implementation = "eager"
        yield
    finally:
        for config, implementation in reversed(attention):
            config._attn_implementation = implementation
        for module, mode in training.items():
            module.training = mode


def _meta_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Stand-ins for all parameters and buffers: shapes without values, once for every module that holds one.

    For `functional_call(..., tie_weights=False)`: torch's own search for tied weights leaves the stand-ins in a module
    that several others share (CoaT).
    """
    stand_ins: dict[torch.Tensor, torch.Tensor] = {}
    named = {}
    for path, module in model.named_modules():
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            stand_ins.setdefault(tensor, torch.empty_like(tensor, device="meta"))
            named[f"{path}.{name}" if path else name] = stand_ins[tensor]
    return named


def _first_tensor(output: Any) -> torch.Tensor | None:
    if isinstance(output, torch.Tensor):
        return output
    values = output.values() if isinstance(output, dict) else output
    if not isinstance(output, (dict, tuple, list)):
        return None
    return next((value for value in values if isinstance(value, torch.Tensor)), None)
