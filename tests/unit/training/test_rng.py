from __future__ import annotations

import random

import numpy as np
import torch

from adaptkit.training.packing import pack, unpack
from adaptkit.training.rng import preserved_rng_state, restore_rng_state, rng_state, seed_everything


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_every_generator_continues() -> None:
    seed_everything(3)
    draw()
    np.random.randn()  # leaves a spare Gaussian in numpy's generator
    state = unpack(pack(rng_state()), where="here")
    expected = draw(), draw()
    restore_rng_state(state)
    assert (draw(), draw()) == expected


def test_what_is_drawn_within_is_not_drawn() -> None:
    seed_everything(3)
    expected = draw()
    seed_everything(3)
    with preserved_rng_state():
        draw()
    assert draw() == expected


def test_a_seed_may_have_more_than_32_bits() -> None:
    seed_everything(2**40 + 1)
