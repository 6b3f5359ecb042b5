"""One adapter per task: which copy runs, what is shared, and which tasks are refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

from adaptkit.adapters import (
    ADAPTERS,
    GMU,
    IA3,
    Bottleneck,
    Compacter,
    CrossAttention,
    DoRA,
    LoHa,
    LoRA,
    LowRank,
    VeRA,
    Wander,
)
from adaptkit.adapters.base import Adapter, Placement, Shape
from adaptkit.adapters.per_task import PerTask
from adaptkit.errors import SiteError
from adaptkit.sides import Sides, read, use_sides

TASKS = ("vqa", "gqa", "nlvr")


def wrapped(sharing: Any = "multiple") -> PerTask:
    torch.manual_seed(0)
    return PerTask({task: Bottleneck(Shape(8), {}, bottleneck=4, init="published") for task in TASKS}, sharing)


def of(task: str | None) -> Sides:
    sides = Sides()
    sides.task = task
    return sides


def test_the_task_of_the_batch_chooses_and_only_its_copy_gets_a_gradient() -> None:
    module, h = wrapped(), torch.randn(2, 3, 8)
    for task in TASKS:
        module.zero_grad()
        out = module(h, h, of(task))
        assert torch.equal(out, module.named_copies()[task](h, h, Sides()))
        torch.testing.assert_close(out - h, module.delta(h, of(task)))
        out.sum().backward()
        for other, adapter in module.named_copies().items():
            assert all((p.grad is not None) == (other == task) for p in adapter.parameters())


@pytest.mark.parametrize(("sharing", "half"), [("half_shared_up", "up"), ("half_shared_down", "down")])
def test_a_shared_half_is_one_module_in_copies_and_pickles_too(sharing: str, half: str) -> None:
    module = wrapped(sharing)
    for twin in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        copies = list(twin.named_copies().values())
        for name in ("down", "up"):
            assert len({id(getattr(adapter, name)) for adapter in copies}) == (1 if name == half else 3)
    assert module.named_copies()["gqa"].down is not copy.deepcopy(module).named_copies()["gqa"].down


def test_a_half_may_be_a_parameter() -> None:
    module = PerTask({task: LoRA(Shape(8, None, 6), {}, rank=2) for task in TASKS}, "half_shared_down")
    assert len({id(adapter.A) for adapter in module.named_copies().values()}) == 1  # type: ignore[attr-defined]
    assert sum(p.numel() for p in module.parameters()) == 2 * 6 + 3 * 8 * 2


def test_it_stands_for_its_copies() -> None:
    module = PerTask({task: LoRA(Shape(8, None, 6), {}, rank=2) for task in TASKS}, "multiple")
    assert module.reads_input
    assert not module.mergeable, "a weight cannot depend on the task"
    placement = Placement("decoder", "attn.q", 1, 2, TASKS)
    module.placement = placement
    assert all(adapter.placement is placement for adapter in module.named_copies().values())


def test_every_copy_is_shown_the_hosts_weight() -> None:
    class Witness(Adapter):
        seen = None

        def adopt(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
            self.seen = weight, bias

    module, weight = PerTask({task: Witness() for task in TASKS}, "multiple"), torch.eye(2)
    module.adopt(weight, None)
    assert all(adapter.seen == (weight, None) for adapter in module.copies.values())


@pytest.mark.parametrize(
    ("task", "message"),
    [(None, "the task of this batch was not given.* one of vqa, gqa, nlvr"), ("vqaa", 'Did you mean "vqa"')],
)
def test_a_batch_without_a_known_task_is_refused(task: str | None, message: str) -> None:
    with pytest.raises(SiteError, match=message):
        wrapped()(torch.zeros(1, 2, 8), torch.zeros(1, 2, 8), of(task))


@pytest.mark.parametrize("task", ["a.b", "", "type", "train"])
def test_tasks_that_cannot_name_a_module_are_refused(task: str) -> None:
    with pytest.raises(SiteError, match="cannot be called"):
        PerTask(
            {"vqa": Bottleneck(Shape(8), {}, bottleneck=2), task: Bottleneck(Shape(8), {}, bottleneck=2)}, "multiple"
        )


def test_what_has_no_tasks_or_no_halves_is_refused() -> None:
    with pytest.raises(SiteError, match="needs tasks"):
        PerTask({}, "multiple")
    copies = {task: IA3(Shape(8, None, 6), {}) for task in TASKS}
    with pytest.raises(SiteError, match="IA3 has no halves"):
        PerTask(copies, "half_shared_up")


HALVED: dict[str, Callable[[], Adapter]] = {
    "bottleneck": lambda: Bottleneck(Shape(8), {}, bottleneck=4),
    "compacter": lambda: Compacter(Shape(8), {}, bottleneck=4, phm_dim=2),
    "cross_attention": lambda: CrossAttention(Shape(8), {"x": Shape(5)}, heads=2, bottleneck=4),
    "dora": lambda: DoRA(Shape(8, None, 6), {}, rank=2),
    "gmu": lambda: GMU(Shape(8), {"x": Shape(5)}, bottleneck=4),
    "loha": lambda: LoHa(Shape(8, None, 6), {}, rank=2),
    "low_rank": lambda: LowRank(Shape(8), {}, bottleneck=4),
    "lora": lambda: LoRA(Shape(8, None, 6), {}, rank=2),
    "vera": lambda: VeRA(Shape(8, None, 6), {}, rank=2),
    "wander": lambda: Wander(Shape(8, 4), {"x": Shape(5, 3)}, rank=2, drank=2, trank=2),
}


def test_halves_are_there_and_are_all_that_learns() -> None:
    """Of every kind that has some: what half-shared tasks share and what they do not is the whole adapter."""
    assert {kind for kind in ADAPTERS if ADAPTERS[kind].halves} == HALVED.keys()
    for kind, build in HALVED.items():
        adapter = build()
        down, up = adapter.halves or ((), ())
        own = {name.partition(".")[0] for name, parameter in adapter.named_parameters() if parameter.requires_grad}
        assert own <= {*down, *up}, kind
        assert all(hasattr(adapter, name) for name in (*down, *up)), kind
        for sharing, shared, apart in (("half_shared_down", down, up), ("half_shared_up", up, down)):
            one, other = PerTask({task: build() for task in "ab"}, sharing).named_copies().values()  # type: ignore[arg-type]
            assert all(getattr(one, name) is getattr(other, name) for name in shared if name in own), (kind, sharing)
            assert all(getattr(one, name) is not getattr(other, name) for name in apart if name in own), (kind, sharing)


class Reader(torch.nn.Module):
    """Reads the task where hooks do: from the running forward."""

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        self.adapter = adapter

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return self.adapter(h, h, read(()))


def test_a_compiled_model_follows_the_task() -> None:
    torch._dynamo.reset()
    module, h = Reader(wrapped("half_shared_up")), torch.randn(2, 3, 8)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    for task in TASKS:
        with use_sides(task=task):
            torch.testing.assert_close(compiled(h), module.adapter(h, h, of(task)))
