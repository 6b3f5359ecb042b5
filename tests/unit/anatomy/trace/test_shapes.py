"""What is remembered of operators is what they give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adaptkit.anatomy.trace.fake_floats import FakeFloatMode


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


CALLS: dict[str, Callable[[], Any]] = {
    "add, broadcast": lambda: meta(2, 3, 4) + meta(4),
    "half and whole": lambda: meta(2, dtype=torch.float16) + meta(2, dtype=torch.int64),
    "times 2": lambda: meta(2, dtype=torch.int64) * 2,
    "times 2.0": lambda: meta(2, dtype=torch.int64) * 2.0,
    "times True": lambda: meta(2, dtype=torch.bool) * True,
    "product": lambda: meta(2, 3, 4) @ meta(4, 5),
    "of a transposed": lambda: meta(3, 4).T + meta(3, 4).T,
    "a copy where needed": lambda: meta(3, 4).T.reshape(12),
    "a view where possible": lambda: meta(3, 4).reshape(12),
    "cat": lambda: torch.cat([meta(2, 3), meta(2, 1)], dim=1),
    "norm": lambda: nn.functional.layer_norm(meta(2, 3), [3], meta(3), meta(3)),
    "several": lambda: torch.max(meta(2, 3), dim=1),
    "attention": lambda: nn.functional.scaled_dot_product_attention(*(meta(1, 2, 3, 4) for _ in range(3))),
    "convolution": lambda: nn.functional.conv2d(meta(1, 3, 8, 8), meta(4, 3, 3, 3), stride=2),
    "to half": lambda: meta(2).half(),
    "where": lambda: torch.where(meta(2, 1, dtype=torch.bool), meta(2, 3), 0.0),
}


def forms(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape), value.stride(), value.dtype, value.device.type
    return [forms(each) for each in value]


@pytest.mark.parametrize("name", CALLS)
def test_the_second_time_is_as_the_first_and_as_without(name: str) -> None:
    plain = forms(CALLS[name]())
    with FakeFloatMode():
        assert [forms(CALLS[name]()) for _ in range(3)] == [plain] * 3


def test_values_of_one_number_and_several_types_are_told_apart() -> None:
    whole = meta(2, dtype=torch.int64)
    with FakeFloatMode():
        assert [(whole * factor).dtype for factor in (1, 1.0, True)] == [torch.int64, torch.float32, torch.int64]


def test_views_share_their_storage_each_time() -> None:
    x = meta(2, 3, 4)
    with FakeFloatMode():
        for _ in range(2):
            for view in (x.view(6, 4), x[0], x.transpose(0, 1), torch.ops.aten._unsafe_view(x, [6, 4])):
                assert view.untyped_storage()._cdata == x.untyped_storage()._cdata


def test_results_are_tensors_of_their_own() -> None:
    x = meta(2)
    with FakeFloatMode():
        made = [x + x for _ in range(3)]
    assert len({each.untyped_storage()._cdata for each in (x, *made)}) == 4


def test_what_writes_into_a_tensor_returns_that_tensor() -> None:
    x = meta(2)
    with FakeFloatMode():
        for _ in range(2):
            assert x.add_(meta(2)) is x
            assert torch.add(meta(2), meta(2), out=x) is x


def test_real_tensors_are_not_taken_for_others_of_their_shape() -> None:
    with FakeFloatMode():
        assert [int((torch.tensor([a, 1]) + 1).sum()) for a in (1, 2, 3)] == [4, 5, 6]
        assert not (torch.tensor([1]) + torch.tensor([2])).is_meta
        assert (meta(1) + torch.tensor([2.0])).is_meta


def test_gradients_flow_through_what_is_remembered() -> None:
    layer = nn.Linear(3, 3, device="meta")
    with FakeFloatMode():
        (layer(layer(layer(meta(2, 3))))).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.shape == (3, 3)
