"""`[train] checkpoint_every`."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from adaptkit.recipe import Train


@pytest.mark.parametrize(
    ("written", "steps", "seconds"),
    [
        ("epoch", math.inf, math.inf),
        ("1 step", 1, math.inf),
        ("500 steps", 500, math.inf),
        ("500steps", 500, math.inf),
        ("30 s", math.inf, 30),
        ("10min", math.inf, 600),
        ("1.5 h", math.inf, 5400),
    ],
)
def test_steps_or_seconds(written: str, steps: float, seconds: float) -> None:
    assert Train(checkpoint_every=written).checkpoint_interval == (steps, seconds)


def test_ten_minutes_by_default() -> None:
    assert Train().checkpoint_interval == (math.inf, 600)


@pytest.mark.parametrize("wrong", ["", "10", "10 m", "0 min", "0 steps", "-1 s", "min", "1.5 steps", "1e3 s", "2 h "])
def test_anything_else_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match="should be"):
        Train(checkpoint_every=wrong)
