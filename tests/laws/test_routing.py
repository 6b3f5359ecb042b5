"""A batch of several tasks gives what the tasks give one by one, in one forward, for every adapter and family."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adaptkit import sides
from adaptkit.errors import SiteError
from adaptkit.routing import Routing
from adaptkit.surgery import Graft, insert
from tests.laws.cases import CASES, SPANS, TASKS, Case, NotHereError, side_inputs
from tests.laws.families import FAMILIES, outputs

MIXED = ("vqa", "gqa", "vqa")  # of the three samples of every family
SOME = ["bert", "gpt2", "bart", "t5", "vit", "swin"]


def copied(graft: Graft) -> Graft:
    """The same with a copy for every task, unless it tells tasks apart already."""
    return graft if graft.kind == "hyperformer" or graft.per_task != "single" else copies(graft)


def copies(graft: Graft) -> Graft:
    return dataclasses.replace(graft, per_task="multiple")


def shaken(model: nn.Module) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".adapters." in name:
                parameter.add_(0.3 * torch.randn(parameter.shape))


def run(model: nn.Module, inputs: dict[str, Tensor], task: Any, case: Case) -> tuple[Tensor, ...]:
    mask = inputs.get("attention_mask")
    masks = {} if mask is None else {"": mask.bool(), "encoder": mask.bool()}
    with torch.no_grad(), sides.use_sides(side_inputs(), masks, task=task, spans=SPANS):
        return outputs(model, inputs)


@pytest.mark.parametrize("case", [case for case in CASES.values() if case.kind], ids=lambda case: case.name)
@pytest.mark.parametrize("family", [name for name in SOME if name in FAMILIES])
def test_a_mixed_batch_is_the_tasks_one_by_one(family: str, case: Case) -> None:
    here = FAMILIES[family]
    try:
        grafts = tuple(map(copied, case.grafts(here)))
    except (NotHereError, SiteError) as error:
        pytest.skip(str(error))
    model = here.fresh()
    insert(model, grafts, seed=0)
    shaken(model)
    inputs = here.inputs()
    alone = {task: run(model, inputs, task, case) for task in TASKS}
    calls: list[int] = []
    model.register_forward_hook(lambda *told: calls.append(1))
    found = run(model, inputs, MIXED, case)
    assert calls == [1], "one forward for all tasks"
    for index, mixed in enumerate(found):
        for row, task in enumerate(MIXED):
            torch.testing.assert_close(mixed[row], alone[task][index][row], rtol=1e-4, atol=1e-4)
    assert any(not torch.allclose(a, b, atol=1e-4) for a, b in zip(alone["vqa"], alone["gqa"], strict=True))


def test_rows_of_samples_that_have_several() -> None:
    routing = Routing(("a", "b", "a"))
    rows, order = routing.rows(6, torch.device("cpu"))
    assert {task: own.tolist() for task, own in rows.items()} == {"a": [0, 1, 4, 5], "b": [2, 3]}
    x = torch.arange(6)
    assert torch.equal(torch.cat([x[own] for own in rows.values()])[order], x)
    assert torch.equal(routing.joined(6, x.device, lambda task, own: x[own]), x)
    with pytest.raises(SiteError, match="7 rows here, and the batch 3 samples of several tasks"):
        routing.rows(7, torch.device("cpu"))


def test_a_batch_of_one_task_takes_no_other_way() -> None:
    assert Routing.of(["a", "a"]) == "a"
    assert Routing.of("a") == "a"
    assert Routing.of(None) is None
