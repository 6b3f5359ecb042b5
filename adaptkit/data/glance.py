"""What a training tells of its data before the first epoch: what splits share, what never changes, what is shifted.

`data check` looks at everything, and decodes it. This looks at targets as a whole and at LOOKED rows of every split, as
they lie there: files count by their names, long arrays by pieces, and what would run a user's code is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.data.label_warnings import constant_number, label_changes
from adaptkit.data.leaks import ABSENT, Marks, content_of, digest, said, shared
from adaptkit.data.paths import ArrayPath
from adaptkit.data.rows import Rows
from adaptkit.data.sample import DataSet, Samples
from adaptkit.data.stats import of_tasks
from adaptkit.errors import DataError
from adaptkit.recipe import TaskTable

LOOKED = 20_000  # rows of a split, evenly: some seconds
PIECE, PIECES = 2**12, 16  # bytes, of what is longer


def glance(data: DataSet, tasks: Mapping[str, TaskTable]) -> Iterator[str]:
    """Sentences for the eye; none where nothing is odd.

    Args:
        data: all splits.
        tasks: name -> table.
    """
    columns = {split: of_tasks(data, split, tasks) for split in data.splits}
    for name in tasks:
        of_task = {split: found[name] for split, found in columns.items()}
        yield from label_changes(name, {split: column for split, column in of_task.items() if "labels" in column})
        for split, column in of_task.items():
            yield from constant_number(name, split, column)
    looked = {split: _Looked(samples) for split, samples in data.splits.items()}
    yield from (f"train: {name} is the same in every sample." for name in looked["train"].alike())
    told = list(shared({split: each.marks for split, each in looked.items()}, lambda s, i: looked[s].place(i)))
    yield from told
    if told and any(each.step > 1 for each in looked.values()):
        yield f"Of every split {LOOKED:,} samples or fewer were compared; `adaptkit data check` compares all."


class _Looked:
    """The marks of every n-th sample of a split, so that at most LOOKED are read."""

    def __init__(self, samples: Samples) -> None:
        self.samples, self.marks, self.seen = samples, Marks(), dict[str, set[bytes]]()
        self.step = max(1, -(-len(samples) // LOOKED))
        if not isinstance(samples.rows, Rows) or samples.rows.stored:
            for index in range(0, len(samples), self.step):
                self._look(index)

    def _look(self, index: int) -> None:
        with suppress(DataError):  # it is told where the sample is used
            sample = self.samples[index]
            inputs = {name: digest(value, _content) for name, value in sample.inputs.items()}
            targets = {f"task {name}": digest(said(value), _content) for name, value in sample.targets.items()}
            self.marks.add(sample.id if sample.id != sample.where else "", inputs, targets)
            for name, found in inputs.items():
                several = self.seen.setdefault(name, set())
                if len(several) < 2:
                    several.add(found)
            return
        self.marks.add("", {}, {})

    def alike(self) -> list[str]:
        """The modalities that are there, and the same everywhere."""
        return [name for name, found in self.seen.items() if len(self.marks.ids) > 1 and len(found - {ABSENT}) == 1]

    def place(self, index: int) -> str:
        return self.samples[index * self.step].place


def _content(value: Any) -> str:
    """What a value holds that JSON has no word for, in bounded time."""
    if isinstance(value, ArrayPath):
        return f"{value.file}::{value.key}"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.ndarray) and not value.dtype.hasobject and value.nbytes > PIECE * PIECES:
        return f"{value.dtype}{value.shape}{_pieces(np.ascontiguousarray(value).view(np.uint8).reshape(-1))}"
    if isinstance(value, bytes) and len(value) > PIECE * PIECES:
        return f"{len(value)}{_pieces(np.frombuffer(value, dtype=np.uint8))}"
    return content_of(value)


def _pieces(content: np.ndarray) -> str:
    """Of (n,) bytes: some from the first to the last."""
    starts = np.linspace(0, len(content) - PIECE, PIECES).astype(int)
    return content_of(b"".join(content[start : start + PIECE].tobytes() for start in starts))
