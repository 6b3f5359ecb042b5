"""A batch depends on its place alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from adaptkit.training.batches import load_batches


def drawn(samples: Sequence[int]) -> dict[str, Any]:
    """As an encoder that augments: something of every generator."""
    return {"ids": list(samples), "drawn": [random.random(), float(np.random.rand()), float(torch.rand(()))]}


def of(workers: int, start: int = 0, key: tuple[int, ...] = (5, 2)) -> list[dict[str, Any]]:
    chunks = [[0, 1], [2, 3], [4, 5], [6], [7, 0]]
    return list(load_batches(range(8), chunks[start:], drawn, workers, start=start, key=key))


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("start", [0, 1, 3])
def test_whoever_prepares_it_and_wherever_one_begins(workers: int, start: int) -> None:
    assert of(workers, start) == of(0)[start:]


def test_other_seeds_and_epochs_draw_other_numbers() -> None:
    first = [batch["drawn"] for key in ((5, 2), (5, 3), (6, 2), (-5, 2)) for batch in of(0, key=key)]
    assert len({tuple(numbers) for numbers in first}) == 20


def test_the_generators_of_the_training_do_not_move() -> None:
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    of(0)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[:2]
    assert torch.equal(torch.get_rng_state(), states[2])
