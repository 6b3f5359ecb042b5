"""The residual form of Wander: its equation, who may be absent, its scale, and that it learns at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from adaptkit.adapters.base import Shape
from adaptkit.adapters.wander import Wander
from adaptkit.sides import Side, Sides

GOLDENS = Path(__file__).parents[2] / "goldens" / "wander"
NAMES = "abc"


def golden(count: int) -> dict[str, Tensor]:
    with np.load(GOLDENS / f"residual_{count}.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def given(arrays: dict[str, Tensor], pattern: str) -> Sides:
    """The sides that are there; of one with more than two tokens sample 1 lacks the last."""
    found = {}
    for name, there in zip(NAMES, pattern, strict=False):
        x = arrays[f"side.{name}"]
        mask = torch.full(x.shape[:2], there == "1")
        if x.shape[1] > 2:
            mask[1, -1] = False
        found[name] = Side(x, mask, mask.any(1))
    sides = Sides(found)
    sides.mask = arrays["mask"].bool()
    return sides


def module_of(arrays: dict[str, Tensor]) -> Wander:
    shapes = {name: Shape(x.shape[2], x.shape[1]) for name in NAMES if (x := arrays.get(f"side.{name}")) is not None}
    h = arrays["h"]
    module = Wander(Shape(h.shape[2], h.shape[1]), shapes, rank=4, drank=3, trank=2, positions="own").double()
    module.load_state_dict({key.removeprefix("w."): x for key, x in arrays.items() if key.startswith("w.")})
    return module


@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_pattern_of_presence_gives_the_golden_values(count: int) -> None:
    """They know no factor for sequences shorter than their bound: it is taken back by smaller token factors."""
    arrays = golden(count)
    patterns = [name.removeprefix("y.") for name in arrays if name.startswith("y.")]
    assert len(patterns) == 2 ** (count - 1)
    h = arrays["h"]
    for pattern in patterns:
        sides = given(arrays, pattern)
        for sample in range(len(h)):
            module = module_of(arrays)
            for index, side in enumerate(sides.values(), 1):
                share = side.mask[sample].double().sum().clamp(min=1) / side.mask.shape[1]
                module.token_factors[index].data *= share.sqrt()
            found = module(h, h, sides)[sample]
            torch.testing.assert_close(found, arrays[f"y.{pattern}"][sample], rtol=0, atol=1e-12)


def test_how_much_of_its_bound_a_side_fills_does_not_matter() -> None:
    """8 tokens under a bound of 512 are as large as 512, from the first step on."""
    sizes: list[float] = []
    for length in (1, 8, 512):
        torch.manual_seed(0)
        module = Wander(Shape(32, 8), {"a": Shape(24, 512)})
        sides = Sides({"a": Side.of(torch.randn(16, length, 24))})
        torch.nn.init.normal_(module.width_factors[1], std=0.25)
        sizes.append(float(module.delta(torch.randn(16, 8, 32), sides).detach().pow(2).mean().sqrt()))
    assert max(sizes) < 1.5 * min(sizes), sizes


def test_an_absent_stream_leaves_the_terms_of_the_sides() -> None:
    arrays = golden(3)
    module, sides = module_of(arrays), given(arrays, "11")
    sides.mask = torch.zeros_like(arrays["mask"].bool())
    module.norms[0].bias.data.fill_(1.0)
    without = module.delta(arrays["h"], sides)
    assert without.abs().mean() > 0.01
    torch.testing.assert_close(without, module.delta(torch.randn_like(arrays["h"]), sides))


def grown(sides: int, length: int, scale: float) -> tuple[Wander, Tensor, Sides]:
    """With side factors as large as training makes them."""
    torch.manual_seed(0)
    module = Wander(Shape(32, 8), {f"m{i}": Shape(24, length) for i in range(sides)}, combine="residual")
    for width in list(module.width_factors)[1:]:
        torch.nn.init.normal_(width, std=width.shape[1] ** -0.5)
    vectors = {f"m{i}": Side.of(scale * torch.randn(4, length, 24)) for i in range(sides)}
    return module, scale * torch.randn(4, 8, 32), Sides(vectors)


@pytest.mark.parametrize("length", [1, 8, 64])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_its_scale_is_that_of_its_number_of_modalities(count: int, length: int) -> None:
    """rms F = sqrt((1 + s)((1 + s)^(M - 1) - 1)) with s = E gelu(N(0, 1))^2 = 0.425, whatever the input's scale."""
    expected = (1.425 * (1.425 ** (count - 1) - 1)) ** 0.5
    for scale in (0.1, 1.0, 100.0):
        module, h, sides = grown(count - 1, length, scale)
        rms = float(module.delta(h, sides).detach().pow(2).mean().sqrt())
        assert expected / 3 < rms < expected * 3, (scale, rms, expected)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_it_is_the_identity_and_learns_at_once(scale: float) -> None:
    torch.manual_seed(0)
    module = Wander(Shape(32, 8), {"a": Shape(24, 6), "b": Shape(5, 1)}, combine="residual")
    sides = Sides({"a": Side.of(scale * torch.randn(4, 6, 24)), "b": Side.of(scale * torch.randn(4, 1, 5))})
    h, wanted = scale * torch.randn(4, 8, 32), torch.randn(4, 8, 32)
    assert torch.equal(module(h, h, sides), h)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(10):
        optimizer.zero_grad()
        (module.delta(h, sides) - wanted).pow(2).mean().backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())
    assert float(module.delta(h, sides).detach().pow(2).mean()) > 1e-2  # of a target of size 1, after ten steps
