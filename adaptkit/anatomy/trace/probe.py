"""One forward without values: who is called when, on which tensor, and where the residual adds are.

The forward runs on the meta device, also for a model that holds weights: its parameters are replaced by meta
tensors for the call only, so that a probe costs no arithmetic and no memory.
"""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from adaptkit.anatomy.trace.dummy import dummy_inputs
from adaptkit.anatomy.trace.forms import inner_forms, native_forms
from adaptkit.anatomy.trace.recorder import Recorder, Trace, from_tree, watched

# The implementation of attentions that carry prefixes. It calls what the model's own configuration names.
PREFIXED = "adaptkit_prefix"


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
    recorder = Recorder()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for path, inputs in runs:
            part = model.get_submodule(path)
            with runnable_on_meta(part), watched(part, path, recorder), recorder:
                functional_call(part, _meta_tensors(part), kwargs=inputs, strict=False, tie_weights=False)
    return recorder.trace


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
