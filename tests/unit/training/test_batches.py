"""A batch depends on its place alone."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from adaptkit.data.loading import Loader


def drawn(samples: Sequence[int]) -> dict[str, Any]:
    """As an encoder that augments: something of every generator."""
    return {"ids": list(samples), "drawn": [random.random(), float(np.random.rand()), float(torch.rand(()))]}


def of(workers: int, start: int = 0, key: tuple[int, ...] = (5, 2)) -> list[dict[str, Any]]:
    chunks = [[0, 1], [2, 3], [4, 5], [6], [7, 0]]
    return list(Loader(range(8), drawn, workers)(chunks[start:], start=start, key=key))  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("start", [0, 1, 3])
def test_whoever_prepares_it_and_wherever_one_begins(workers: int, start: int) -> None:
    assert of(workers, start) == of(0)[start:]


def process(samples: Sequence[int]) -> dict[str, Any]:
    return {"ids": list(samples), "process": os.getpid()}


def test_the_same_processes_read_every_epoch_and_end_with_their_loader() -> None:
    """One that is left in the middle of an epoch begins the next one with its first batch."""
    chunks = [[number] for number in range(6)]
    loader = Loader(range(6), process, 2)  # type: ignore[arg-type]
    first = list(loader(chunks))
    left = iter(loader(chunks[::-1]))
    assert next(left)["ids"] == [5]
    left.close()  # type: ignore[attr-defined]
    again = list(loader(chunks[1:]))
    assert [batch["ids"] for batch in again] == chunks[1:]
    processes = {batch["process"] for batch in first}
    assert {batch["process"] for batch in again} == processes
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert list(loader([])) == []
    del loader, left
    gc.collect()
    assert not processes & {child.pid for child in multiprocessing.active_children()}


def test_other_seeds_and_epochs_draw_other_numbers() -> None:
    first = [batch["drawn"] for key in ((5, 2), (5, 3), (6, 2), (-5, 2)) for batch in of(0, key=key)]
    assert len({tuple(numbers) for numbers in first}) == 20


def test_the_generators_of_the_training_do_not_move() -> None:
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    of(0)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[:2]
    assert torch.equal(torch.get_rng_state(), states[2])
