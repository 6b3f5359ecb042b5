"""One forward without values: who is called when, on which tensor, and where the residual adds are.

The forward runs on the meta device, also for a model that holds weights: its parameters are replaced by meta
tensors for the call only, so that a probe costs no arithmetic and no memory.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from adaptkit.anatomy.dummy import dummy_inputs


@dataclass(slots=True)
class Call:
    """One call of one module.

    Attributes:
        path: the module.
        start, end: positions in the sequence of all starts and ends.
        inputs: identities of the tensors it was given, positional ones first.
        output: identity of the (first) tensor it returned; -1 for none.
        in_shape, out_shape: of the first input and of the output.
    """

    path: str
    start: int
    end: int = -1
    inputs: tuple[int, ...] = ()
    output: int = -1
    in_shape: tuple[int, ...] = ()
    out_shape: tuple[int, ...] = ()


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


class _Recorder(TorchDispatchMode):
    """Writes a trace: adds of same-shaped tensors (residual adds, not biases), and who is called with what.

    Tensors are told apart by identity, so every one that was noted is kept until the trace is done.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trace = Trace()
        self.keep: list[Any] = []
        self.running: list[Call] = []
        self.clock = iter(range(1 << 62))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor):
            a, b = args[:2]
            if isinstance(b, torch.Tensor) and a.shape == b.shape:
                self.keep += [a, b, out]
                self.trace.adds[id(out)] = (id(a), id(b))
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


def probe(model: nn.Module) -> Trace:
    """Run the model once on meta tensors. Never fails: where no forward can be made, the trace says why."""
    try:
        inputs = dummy_inputs(model)
    except ValueError as error:
        return from_tree(model, str(error))
    attempts = [inputs]
    if "input_ids" in inputs:  # some models look into a mask, others into the tokens where there is none
        attempts.append(inputs | {"attention_mask": torch.ones_like(inputs["input_ids"])})
    why = ""
    for attempt in attempts:
        try:
            return _record(model, attempt)
        except Exception as error:  # any architecture may refuse zeros; the tree alone then speaks
            why = why or f"{type(error).__name__}: {(str(error) or '?').splitlines()[0]}"
    return from_tree(model, why)


def _record(model: nn.Module, inputs: dict[str, torch.Tensor]) -> Trace:
    recorder, hooks = _Recorder(), []
    for path, module in model.named_modules():
        enter = partial(recorder.enter, path)
        hooks.append(module.register_forward_pre_hook(enter, with_kwargs=True, prepend=True))
        hooks.append(module.register_forward_hook(recorder.leave))
    try:
        with warnings.catch_warnings(), runnable_on_meta(model), torch.no_grad(), recorder:
            warnings.simplefilter("ignore")
            functional_call(model, _meta_tensors(model), kwargs=inputs, strict=False)
    finally:
        for hook in hooks:
            hook.remove()
    return recorder.trace


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
        if hasattr(config, "_attn_implementation"):
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
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}


def _first_tensor(output: Any) -> torch.Tensor | None:
    if isinstance(output, torch.Tensor):
        return output
    values = output.values() if isinstance(output, dict) else output
    if not isinstance(output, (dict, tuple, list)):
        return None
    return next((value for value in values if isinstance(value, torch.Tensor)), None)
