from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adaptkit.adapters.base import Shape
from adaptkit.anatomy import Site
from adaptkit.errors import Diverged
from adaptkit.surgery import Graft, insert
from adaptkit.tasks.regression.task import RegressionTask
from adaptkit.training.checkpoint import Training
from adaptkit.training.loop import train_step
from adaptkit.training.machine import build_accelerator
from adaptkit.training.schedules import LRSchedule


class Line(nn.Module):
    """One linear layer that looks like an adapted model."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)

    def forward(self, inputs: dict[str, dict[str, Tensor]], **asked: Any) -> dict[str, Tensor]:
        return {"score": self.layer(inputs["x"]["values"])}


def batches(*sizes: int) -> list[dict[str, Any]]:
    rng = torch.Generator().manual_seed(1)
    return [
        {
            "ids": [str(index) for index in range(size)],
            "inputs": {"x": {"values": torch.randn(size, 3, generator=rng)}},
            "targets": {"score": torch.randn(size, 1, generator=rng)},
        }
        for size in sizes
    ]


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "ids": [name for part in parts for name in part["ids"]],
        "inputs": {"x": {"values": torch.cat([part["inputs"]["x"]["values"] for part in parts])}},
        "targets": {"score": torch.cat([part["targets"]["score"] for part in parts])},
    }


def training(model: nn.Module | None = None, scaler: torch.amp.GradScaler | None = None) -> Training:
    """Of one linear layer, by plain gradient descent."""
    accelerator = build_accelerator("fp32")
    accelerator.scaler = scaler
    model = model or Line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = LRSchedule(optimizer, total=10)
    return Training(model, accelerator.prepare_optimizer(optimizer), schedule, accelerator, Path("unused"))


def step(training: Training, group: list[dict[str, Any]], clip: float | None = None) -> float:
    return train_step(training, {"score": RegressionTask("score", outputs=1)}, group, clip=clip)


@pytest.mark.parametrize("sizes", [(4, 4, 4), (4, 4, 1), (5,)])
def test_accumulation_equals_the_large_batch(sizes: tuple[int, ...]) -> None:
    parts = batches(*sizes)
    small, large = training(), training()
    losses = [(step(small, parts), step(large, [joined(parts)])) for _ in range(5)]
    for one, other in losses:
        assert one == pytest.approx(other, rel=1e-6)
    for one, other in zip(small.model.parameters(), large.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_clipping_bounds_the_step() -> None:
    clipped = training()
    before = [parameter.clone() for parameter in clipped.model.parameters()]
    step(clipped, batches(4), clip=1e-3)
    moved = [new - old for new, old in zip(clipped.model.parameters(), before, strict=True)]
    norm = torch.cat([part.detach().flatten() for part in moved]).norm()
    assert float(norm) == pytest.approx(0.1 * 1e-3, rel=1e-2)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_loss_that_is_not_finite_makes_no_step(clip: float | None) -> None:
    broken = training()
    before = [parameter.clone() for parameter in broken.model.parameters()]
    good, bad = batches(4, 4)
    bad["targets"]["score"][0] = math.nan
    with pytest.raises(Diverged, match="loss is not finite"):
        step(broken, [good, bad], clip=clip)
    assert all(torch.equal(old, new) for old, new in zip(before, broken.model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in broken.model.parameters())


def test_an_infinite_gradient_makes_no_step() -> None:
    broken = training()
    broken.model.layer.weight.register_hook(lambda grad: grad * math.inf)
    with pytest.raises(Diverged, match="gradient is not finite"):
        step(broken, batches(4))


def test_a_scaler_skips_a_step_that_overflows() -> None:
    """As in half precision on a GPU: nothing moves, the learning rate neither, and the scale is lowered."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    scaled = training(scaler=scaler)
    overflowing = scaled.model.layer.weight.register_hook(lambda grad: grad * math.inf)
    before = [parameter.clone() for parameter in scaled.model.parameters()]
    step(scaled, batches(4))
    assert all(torch.equal(old, new) for old, new in zip(before, scaled.model.parameters(), strict=True))
    assert scaled.schedule.state_dict()["step"] == 0
    assert scaler.get_scale() == 2.0**9
    overflowing.remove()
    plain = training()
    step(scaled, batches(4))
    step(plain, batches(4))
    assert scaled.schedule.state_dict()["step"] == 1
    for one, other in zip(scaled.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_an_adapter_whose_host_does_not_run_is_told() -> None:
    model = Line()
    unused = nn.Linear(3, 1)
    model.add_module("unused", unused)
    site = Site("path:unused", "", None, "", "after", 1)
    insert(unused, [Graft("idle", "bottleneck", site, Shape(1), options={"bottleneck": 1})])
    found = training(model)
    assert found.idle is None
    step(found, batches(4))
    assert found.idle == ("idle at unused",)
