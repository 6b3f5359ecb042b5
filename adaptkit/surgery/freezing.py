"""What of a model's own parameters moves while adapters are in it, and what each insertion found before.

Every parameter has a history: one entry per insertion that is still there, kept by the module that owns the parameter,
so that it goes along with copies and pickles. The latest insertion decides what moves. One that leaves from between
hands what it found to the one that came after it, which gives that back when it leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from uuid import uuid4

import torch
from torch import Tensor, nn

from adaptkit.surgery.hooks import Adapters

HISTORIES = "adapter_histories"  # on a module: name of a parameter -> what the insertions found, in their order


class Found(NamedTuple):
    """What an insertion found of a parameter.

    Attributes:
        insertion: its number.
        requires_grad: before it.
        unfrozen: it lets the parameter move.
        value: before it, in main memory, of one that may move; None where no copy was to be kept.
    """

    insertion: int
    requires_grad: bool
    unfrozen: bool
    value: Tensor | None


def base_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The model's own parameters: those of adapters inserted earlier are left alone."""
    grafted = {id(p) for module in model.modules() if isinstance(module, Adapters) for p in module.parameters()}
    return {name: p for name, p in model.named_parameters() if id(p) not in grafted}


def freeze(model: nn.Module, unfrozen: frozenset[str], *, restorable: bool) -> int:
    """Let of the model's own parameters these move alone.

    Args:
        model: the backbone.
        unfrozen: names of its parameters.
        restorable: keep a copy of their values.

    Returns:
        The number of this insertion, for `thaw`.
    """
    number = uuid4().int  # of no other insertion, in this model or another, so that an old receipt means none
    for name, parameter in base_parameters(model).items():
        path, _, own = name.rpartition(".")
        kept: dict[str, list[Found]] = vars(model.get_submodule(path)).setdefault(HISTORIES, {})
        moves = name in unfrozen
        value = copied(parameter) if moves and restorable else None
        kept.setdefault(own, []).append(Found(number, parameter.requires_grad, moves, value))
        parameter.requires_grad_(moves)
    return number


def thaw(model: nn.Module, number: int, *, restore: bool = True) -> None:
    """Forget an insertion: what moves is again what it found, or what later insertions let move.

    Args:
        model: what `freeze` was given, or a copy of it.
        number: what it returned.
        restore: put the values back; without, they stay what training made of them.
    """
    for parameter, history in histories(model):
        index = entry_of(history, number)
        if index is None:
            continue
        found = history.pop(index)
        if index == len(history):
            parameter.requires_grad_(found.requires_grad)
        else:
            history[index] = history[index]._replace(requires_grad=found.requires_grad)
        if found.value is None or not restore:
            continue
        later = next((i for i in range(index, len(history)) if history[i].unfrozen), None)
        if later is None:
            with torch.no_grad():
                parameter.copy_(found.value)
        elif history[later].value is not None:
            history[later] = history[later]._replace(value=found.value)
    for module in model.modules():
        kept = {name: history for name, history in vars(module).get(HISTORIES, {}).items() if history}
        if kept:
            setattr(module, HISTORIES, kept)
        else:
            vars(module).pop(HISTORIES, None)


def is_there(model: nn.Module, number: int) -> bool:
    """Some parameter knows this insertion, or there is none that could."""
    found = [entry_of(history, number) is not None for _, history in histories(model)]
    return any(found) or not base_parameters(model)


def would_undo(model: nn.Module, number: int, changed: set[int]) -> set[int]:
    """ids of parameters whose merged values another insertion would replace when it leaves.

    Args:
        model: with the adapters of both.
        number: of the insertion to merge, whose own parameters keep their trained values.
        changed: ids of the parameters that adapters are merged into.
    """
    undone: set[int] = set()
    for parameter, history in histories(model):
        index = entry_of(history, number)
        others = history[:index] if index is not None and history[index].unfrozen else []
        if id(parameter) in changed:
            others = [found for found in history if found.insertion != number]
        if any(found.value is not None for found in others):
            undone.add(id(parameter))
    return undone


def histories(model: nn.Module) -> Iterator[tuple[nn.Parameter, list[Found]]]:
    """Every parameter with a history."""
    for module in model.modules():
        for name, history in vars(module).get(HISTORIES, {}).items():
            yield module.get_parameter(name), history


def entry_of(history: list[Found], number: int) -> int | None:
    return next((index for index, found in enumerate(history) if found.insertion == number), None)


def copied(parameter: Tensor) -> Tensor:
    """Its value, in main memory; one without a value stays without."""
    value = parameter.detach().clone()
    return value if value.is_meta else value.cpu()
