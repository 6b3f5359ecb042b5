"""The head of a retrieval task: two vectors of known length, and a temperature that learns within bounds."""

from __future__ import annotations

import pytest
import torch

from adaptkit.recipe.task import Head
from adaptkit.tasks.classification.table import Classification
from adaptkit.tasks.retrieval.table import Retrieval
from adaptkit.tasks.task import TASKS, Task


def build(**keys: object) -> torch.nn.Module:
    spec = Retrieval(kind="retrieval", query="caption", width=3, **keys)  # type: ignore[arg-type]
    return TASKS["retrieval"].build_head(spec, 6, 6, {"caption": 4, "other": 9})


def test_query_and_item_have_their_lengths() -> None:
    out = build(temperature=0.05)(torch.randn(5, 6), torch.randn(5, 4))
    assert out.shape == (5, 6)
    torch.testing.assert_close(out[:, :3].norm(dim=1), torch.full((5,), 20.0))
    torch.testing.assert_close(out[:, 3:].norm(dim=1), torch.ones(5))


def test_the_temperature_is_no_lower_than_one_hundredth() -> None:
    head = build(temperature=0.5)
    with torch.no_grad():
        head.log_scale.add_(10)
    out = head(torch.randn(2, 6), torch.randn(2, 4))
    torch.testing.assert_close(out[:, :3].norm(dim=1), torch.full((2,), 100.0))


def test_parameters_and_freezing() -> None:
    assert sum(p.numel() for p in build().parameters()) == (6 * 3 + 3) + (4 * 3 + 3) + 1
    assert all(p.requires_grad for p in build().parameters())
    assert not any(p.requires_grad for p in build(head=Head(train=False)).parameters())


def test_everything_learns() -> None:
    head = build(head={"kind": "mlp", "hidden": 5})
    out = head(torch.randn(5, 6), torch.randn(5, 4))
    (out[:, :3] @ out[:, 3:].T).logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in head.parameters())


def test_other_tasks_have_their_heads() -> None:
    head = Task.build_head(Classification(kind="classification"), 6, 2, {})
    assert head(torch.randn(5, 6)).shape == (5, 2)
    with pytest.raises(TypeError):
        head(torch.randn(5, 6), torch.randn(5, 4))
