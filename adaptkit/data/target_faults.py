"""The targets of every split, run through the tasks' own encoding before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

from adaptkit.data.sample import DataSet, Samples
from adaptkit.errors import DataError, Problem

BATCH = 1024  # targets encoded at a time
SHOWN = 5  # faults of one task and split that are told one by one


class Checks(Protocol):
    """What is needed of a task."""

    def check(self, values: Sequence[Any], ids: Sequence[str]) -> None: ...


def target_faults(data: DataSet, tasks: Mapping[str, Checks]) -> list[Problem]:
    """What no task can encode: of every split and task the first faults, and how many more there are.

    Args:
        data: all splits; nothing but their targets is read.
        tasks: name -> task.
    """
    found: list[Problem] = []
    for split, samples in data.splits.items():
        for name, task in tasks.items():
            faults = list(_faults(samples, name, task))
            found += [Problem(f"{name}: {fault.message}", fault.where, fault.hint) for fault in faults[:SHOWN]]
            if len(faults) > SHOWN:
                found.append(Problem(f"{len(faults) - SHOWN:,} more samples whose {name} cannot be encoded.", split))
    return found


def check_targets(data: DataSet, tasks: Mapping[str, Checks]) -> None:
    """Raise DataError with every fault of `target_faults`."""
    faults = target_faults(data, tasks)
    if faults:
        raise DataError.all(faults)


def _faults(samples: Samples, name: str, task: Checks) -> Iterator[Problem]:
    values, start = iter(samples.targets(name)), 0
    while batch := list(islice(values, BATCH)):
        if _fault(task, batch, [""] * len(batch)) is not None:
            for index, value in enumerate(batch, start):
                if _fault(task, [value], [""]) is not None:
                    fault = _fault(task, [value], [_place(samples, index)])
                    assert fault is not None
                    yield fault
        start += len(batch)


def _fault(task: Checks, values: list[Any], places: list[str]) -> Problem | None:
    try:
        task.check(values, places)
    except DataError as error:
        return error.problems[0]
    return None


def _place(samples: Samples, index: int) -> str:
    """How errors name a sample, which may have other faults as well."""
    try:
        return samples[index].place
    except DataError as error:
        return error.problems[0].where
