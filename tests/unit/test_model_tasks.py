"""Where adapters tell tasks apart, every task has a pass of its own: what belongs to one does not touch the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe
from adaptkit.recipe.task import TaskTable
from adaptkit.tasks import TASKS, Task

ADAPTERS: dict[str, dict[str, Any]] = {
    "copies": {"kind": "bottleneck", "bottleneck": 2, "per_task": "multiple"},
    "half_shared": {"kind": "bottleneck", "bottleneck": 2, "per_task": "half_shared_down"},
    "hyperformer": {"kind": "hyperformer", "bottleneck": 2},
}
COMMON = {"kind": "bottleneck", "bottleneck": 2}


def build(folder: Path, adapter: dict[str, Any]) -> AdaptedModel:
    yes_or_no = {"kind": "classification", "labels": ["no", "yes"]}
    recipe = {
        "name": "tasks",
        "backbone": {"model": str(folder), "max_tokens": 12},
        "modality": {"question": {"kind": "text", "route": "backbone"}},
        "adapter": {"a": adapter | {"at": ["mlp.out"]}},
        "data": {"format": "jsonl"},
        "task": {"first": yes_or_no, "second": yes_or_no},
    }
    model = build_model(make_plan(parse_recipe(recipe)), seed=3).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".adapters." in name:
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return model


def batch(model: AdaptedModel) -> dict[str, dict[str, Tensor]]:
    encoder = dict(model.named_encoders())["question"]
    texts = ["is the thing big ?", "is it red ?"]
    return {"question": encoder.collate([encoder.prepare(text, "here") for text in texts], ["0", "1"])}


def reached(model: AdaptedModel, task: str) -> set[str]:
    """Values of adapter parameters that a task's logits depend on, as `name[index]`."""
    model.zero_grad()
    model(batch(model))[task].pow(2).sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters() if ".adapters." in name and p.grad is not None}
    return {f"{name}{index.tolist()}" for name, grad in grads.items() for index in grad.nonzero()}


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
def test_a_task_has_parameters_of_its_own(tiny_bert: Path, adapter: dict[str, Any]) -> None:
    model = build(tiny_bert, adapter)
    first, second = reached(model, "first"), reached(model, "second")
    assert first - second
    assert second - first


def test_one_pass_serves_all_tasks_where_no_adapter_asks(tiny_bert: Path) -> None:
    for adapter, passes in ((COMMON, 1), (ADAPTERS["copies"], 2), (ADAPTERS["hyperformer"], 2)):
        model, seen = build(tiny_bert, adapter), []
        model.backbone.register_forward_hook(lambda module, args, output, seen=seen: seen.append(output))
        model(batch(model))
        assert len(seen) == passes


class Rating(TaskTable):
    """The table of a kind of task that adaptkit does not have."""

    steps: int


class RatingTask(Task):
    """One output for every step but the first, and no labels."""

    table = Rating
    kind, default_monitor = "rating", "loss"

    @classmethod
    def of(cls, spec: Rating, name: str, training_targets: Sequence[Any] | None) -> RatingTask:
        return cls(name, outputs=spec.steps - 1, monitor=spec.monitor, weight=spec.weight)


@pytest.fixture
def rating() -> Iterator[None]:
    TASKS.register("rating")(RatingTask)
    yield
    del TASKS["rating"]


@pytest.mark.parametrize("head", [{}, {"kind": "mlp", "hidden": 5}, {"train": False}], ids=str)
def test_a_new_kind_of_task_is_built_as_it_was_planned(tiny_bert: Path, rating: None, head: dict[str, Any]) -> None:
    """The task alone says how many outputs it has: whoever builds a head asks the plan."""
    task = {"kind": "rating", "steps": 8, "head": head}
    recipe = {
        "name": "tasks",
        "backbone": {"model": str(tiny_bert), "max_tokens": 12},
        "modality": {"question": {"kind": "text", "route": "backbone"}},
        "data": {"format": "jsonl"},
        "task": {"stars": task},
    }
    plan = make_plan(parse_recipe(recipe))
    model = build_model(plan)
    assert model(batch(model))["stars"].shape == (2, 7)
    assert sum(p.numel() for p in model.heads.parameters()) == plan.parameters.heads
    assert sum(p.numel() for p in model.parameters()) == plan.parameters.total
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == plan.parameters.trainable
