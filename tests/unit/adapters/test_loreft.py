"""LoReFT: a change within a subspace, exactly, and only where it was asked for."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from adaptkit.adapters import LoReFT
from adaptkit.adapters.base import Shape
from adaptkit.errors import SiteError
from adaptkit.sides import Sides

# B batch, T tokens, D width, R rank
B, T, D, R = 3, 6, 16, 4


def trained(**options) -> LoReFT:
    """Away from its initial values, so that it has an effect."""
    torch.manual_seed(0)
    module = LoReFT(Shape(D), {}, rank=R, **options).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))
    return module


@pytest.fixture
def h() -> torch.Tensor:
    return torch.randn(B, T, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_equation_2(h: torch.Tensor) -> None:
    """h + R^T (W h + b - R h) with R R^T = 1, however far the free matrix is from it."""
    module = trained()
    r = module.directions()
    torch.testing.assert_close(r @ r.T, torch.eye(R, dtype=torch.float64), rtol=0, atol=1e-12)
    expected = h + (h @ module.learned.weight.T + module.learned.bias - h @ r.T) @ r
    torch.testing.assert_close(module(h, h, Sides()), expected, rtol=0, atol=1e-10)


def test_what_lies_outside_the_subspace_stays(h: torch.Tensor) -> None:
    module = trained()
    r = module.directions()
    outside = torch.eye(D, dtype=torch.float64) - r.T @ r
    torch.testing.assert_close(module(h, h, Sides()) @ outside, h @ outside, rtol=0, atol=1e-10)


def test_inside_the_subspace_is_what_was_learned(h: torch.Tensor) -> None:
    """R h' = W h + b: an intervention, not an addition."""
    module = trained()
    changed = module(h, h, Sides()) @ module.directions().T
    torch.testing.assert_close(changed, module.learned(h), rtol=0, atol=1e-10)


def test_equation_3_is_free_of_constraints(h: torch.Tensor) -> None:
    module = trained(form="direft")
    torch.testing.assert_close(module(h, h, Sides()), h + module.learned(h) @ module.basis, rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", ["loreft", "direft"])
def test_a_fresh_one_is_the_identity_and_every_parameter_learns(form, h: torch.Tensor) -> None:
    module = LoReFT(Shape(D), {}, rank=R, form=form).double()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    torch.testing.assert_close(module(h, h, Sides()), h, rtol=0, atol=1e-6)
    moved = set()
    for _ in range(2):
        optimizer.zero_grad()
        (module(h, h, Sides()) ** 2).sum().backward()
        moved |= {name for name, p in module.named_parameters() if p.grad is not None and p.grad.abs().max() > 1e-9}
        optimizer.step()
    assert moved == {name for name, _ in module.named_parameters()}


def test_the_published_start_is_not_the_identity(h: torch.Tensor) -> None:
    module = LoReFT(Shape(D), {}, rank=R, init="published").double()
    assert not torch.allclose(module(h, h, Sides()), h, atol=1e-2)


@pytest.mark.parametrize(
    ("first", "last", "changed"),
    [
        (0, 0, [[1, 1, 1, 1, 1, 1]] * 3),
        (2, 0, [[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0]]),
        (0, 1, [[0, 0, 0, 0, 0, 1], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1]]),
        (1, 2, [[1, 0, 0, 0, 1, 1], [1, 0, 1, 1, 0, 0], [0, 0, 1, 0, 1, 1]]),
        (4, 4, [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1]]),
    ],
)
def test_positions_count_real_tokens(first: int, last: int, changed: list[list[int]], h: torch.Tensor) -> None:
    """Samples without padding, padded on the right, and padded on the left."""
    sides = Sides()
    sides.mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1]]).bool()
    moved = (trained(first=first, last=last)(h, h, sides) != h).any(-1)
    assert moved.int().tolist() == changed


def test_positions_without_a_mask(h: torch.Tensor) -> None:
    moved = (trained(first=1, last=1)(h, h, Sides()) != h).any(-1)
    assert moved[0].tolist() == [True, False, False, False, False, True]


def test_counts_and_documented_flops(h: torch.Tensor) -> None:
    module = LoReFT(Shape(D), {}, rank=R).double()
    assert sum(p.numel() for p in module.parameters()) == 2 * D * R + R
    with FlopCounterMode(display=False) as counter:
        module.delta(h, Sides())
    assert counter.get_total_flops() == B * T * 4 * D * R + 2 * R * R * D  # the Gram matrix once per forward


def test_compiles(h: torch.Tensor) -> None:
    module = trained(last=2)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(h, h, Sides()), module(h, h, Sides()))


@pytest.mark.parametrize(
    ("options", "message"), [({"rank": 17}, "exceeds the width"), ({"rank": 0}, "rank"), ({"last": -1}, "no choice")]
)
def test_what_cannot_work_is_refused(options: dict, message: str) -> None:
    with pytest.raises(SiteError, match=message):
        LoReFT(Shape(D), {}, **options)
