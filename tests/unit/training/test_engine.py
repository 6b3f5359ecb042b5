from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adaptkit.adapters.base import Shape
from adaptkit.anatomy import Site
from adaptkit.errors import Diverged, OutOfMemory, UnavailableError
from adaptkit.recipe import OptimizerSpec, Train
from adaptkit.surgery import Graft, insert
from adaptkit.tasks.regression.task import RegressionTask
from adaptkit.training.engine import Engine, build_accelerator, memory_errors


class Line(nn.Module):
    """One linear layer that looks like an adapted model."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)

    def forward(self, inputs: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
        return {"score": self.layer(inputs["x"]["values"])}


def batches(*sizes: int) -> list[dict[str, Any]]:
    chance = torch.Generator().manual_seed(1)
    return [
        {
            "ids": [str(index) for index in range(size)],
            "inputs": {"x": {"values": torch.randn(size, 3, generator=chance)}},
            "targets": {"score": torch.randn(size, 1, generator=chance)},
        }
        for size in sizes
    ]


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "ids": [name for part in parts for name in part["ids"]],
        "inputs": {"x": {"values": torch.cat([part["inputs"]["x"]["values"] for part in parts])}},
        "targets": {"score": torch.cat([part["targets"]["score"] for part in parts])},
    }


def engine(**changes: Any) -> Engine:
    settings = {"optimizer": OptimizerSpec(name="sgd", lr=0.1), **changes}
    task = RegressionTask("score", outputs=1)
    return Engine(Line(), {"score": task}, Train(**settings), 10, build_accelerator("fp32"))


@pytest.mark.parametrize("sizes", [(4, 4, 4), (4, 4, 1), (5,)])
def test_accumulation_equals_the_large_batch(sizes: tuple[int, ...]) -> None:
    parts = batches(*sizes)
    small, large = engine(), engine()
    losses = [(small.step(parts), large.step([joined(parts)])) for _ in range(5)]
    for one, other in losses:
        assert one == pytest.approx(other, rel=1e-6)
    for one, other in zip(small.model.parameters(), large.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_clipping_bounds_the_step() -> None:
    clipped = engine(clip=1e-3)
    before = [parameter.clone() for parameter in clipped.model.parameters()]
    clipped.step(batches(4))
    moved = [new - old for new, old in zip(clipped.model.parameters(), before, strict=True)]
    norm = torch.cat([part.detach().flatten() for part in moved]).norm()
    assert float(norm) == pytest.approx(0.1 * 1e-3, rel=1e-2)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_loss_that_is_not_finite_makes_no_step(clip: float | None) -> None:
    broken = engine(clip=clip)
    before = [parameter.clone() for parameter in broken.model.parameters()]
    good, bad = batches(4, 4)
    bad["targets"]["score"][0] = math.nan
    with pytest.raises(Diverged, match="loss is not finite"):
        broken.step([good, bad])
    assert all(torch.equal(old, new) for old, new in zip(before, broken.model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in broken.model.parameters())


def test_an_infinite_gradient_makes_no_step() -> None:
    broken = engine()
    broken.model.layer.weight.register_hook(lambda grad: grad * math.inf)  # type: ignore[union-attr]
    with pytest.raises(Diverged, match="gradient is not finite"):
        broken.step(batches(4))


def test_fp16_needs_a_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UnavailableError, match="fp16"):
        build_accelerator("fp16")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_running_out_of_memory_says_what_to_change(error: Exception) -> None:
    with (
        pytest.raises(OutOfMemory, match=r"batch_size.*accumulation.*gradient_checkpointing"),
        memory_errors(),
    ):
        raise error


def test_other_runtime_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory_errors():
        raise RuntimeError("shape mismatch")


def test_an_adapter_whose_host_does_not_run_is_told() -> None:
    training = engine()
    model = training.model
    model.add_module("unused", nn.Linear(3, 1))
    site = Site("path:unused", "", None, "", "after", 1)
    insert(model.unused, [Graft("idle", "bottleneck", site, Shape(1), options={"bottleneck": 1})])
    assert training.idle is None
    training.step(batches(4))
    assert training.idle == ("idle at unused",)
