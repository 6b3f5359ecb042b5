"""A weight and its thin factors give what their sum gives, whatever experts do with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from adaptkit.adapters.factored import Factored

E, X, Y, R, N = 3, 8, 16, 2, 6  # experts, inputs, outputs, rank, tokens

Use = Callable[[Any, Tensor], Any]
USES: dict[str, Use] = {
    "one expert": lambda w, x: x @ w[1],
    "one expert, linear": lambda w, x: functional.linear(x, w.transpose(-2, -1)[torch.tensor(2)]),
    "a weight for each token": lambda w, x: torch.bmm(x[:, None], w[torch.arange(N) % E])[:, 0],
    "a weight for each token, of columns": lambda w, x: torch.bmm(w.transpose(1, 2)[torch.arange(N) % E], x[..., None]),
    "groups": lambda w, x: torch._grouped_mm(x, w, offs=torch.tensor([2, 3, 6], dtype=torch.int32)),
    "linear with a bias": lambda w, x: functional.linear(x, w[0].transpose(0, 1), torch.ones(Y)),
    "all experts at once": lambda w, x: torch.einsum("ni,eio->neo", x, w),
    "a method of tensors": lambda w, x: x.double() @ w[1].double(),
    "by name": lambda w, x: torch.matmul(x, other=w[1]),
    "another order": lambda w, x: w.transpose(0, 1)[:, 1],
    "a sum": lambda w, x: torch.add(w, x[:1, :, None]),
}
WHOLE = ("linear with a bias", "all experts at once", "a method of tensors", "by name", "another order", "a sum")
APART = [name for name in USES if name not in WHOLE]


def factored(dtype: torch.dtype = torch.float32, **options: Any) -> Factored:
    torch.manual_seed(0)
    left, right = torch.randn(E, X, R, requires_grad=True), torch.randn(E, R, Y, requires_grad=True)
    return Factored(torch.randn(E, X, Y).to(dtype), left, right, 0.5, **options)


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_every_use_gives_what_the_sum_gives(use: Use) -> None:
    weight, x = factored(), torch.randn(N, X)
    assert isinstance(weight.left, Tensor)
    found, expected = use(weight, x), use(weight.whole(), x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    mine = torch.autograd.grad(found.square().sum(), (weight.left, weight.right), retain_graph=True)
    theirs = torch.autograd.grad(expected.square().sum(), (weight.left, weight.right))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", APART)
def test_products_never_make_the_sum(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Factored, "whole", lambda self: pytest.fail("the sum was made"))
    USES[name](factored(), torch.randn(N, X))


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_one_on_another_adds_up(use: Use) -> None:
    first, x = factored(), torch.randn(N, X)
    both = Factored(first, torch.randn(E, X, R), torch.randn(E, R, Y), 2.0)
    torch.testing.assert_close(use(both, x), use(both.whole(), x), rtol=1e-4, atol=1e-4)


def test_a_change_too_small_for_half_precision_is_not_lost() -> None:
    """Beside a weight of 256 bfloat16 knows steps of 2: where the product with it is 0, the change is all there is."""
    factors = torch.arange(8.0).view(1, 8, 1) / 16, torch.ones(1, 1, 8)
    weight = Factored(torch.full((1, 8, 8), 256.0).bfloat16(), *factors, 1.0)
    x = torch.tensor([[1.0, -1, 0, 0, 0, 0, 0, 0]]).bfloat16()
    assert torch.equal(x @ weight.whole()[0].bfloat16(), torch.zeros(1, 8).bfloat16())
    assert torch.equal(x @ weight[0], torch.full((1, 8), -1 / 16).bfloat16())


def test_there_is_no_address_to_hand_to_a_kernel() -> None:
    assert factored().ndim == 3
    with pytest.raises(AttributeError, match="no tensor in one piece"):
        factored().data_ptr()


def test_who_looks_sees_what_is_added_and_to_what() -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    weight = factored(seen=lambda change, product: seen.append((change, product)))
    x = torch.randn(N, X)
    total = x @ weight[1]
    weight.whole()
    (change, product), (added, whole) = seen
    assert isinstance(weight.weight, Tensor)
    torch.testing.assert_close(change + product, total)
    torch.testing.assert_close(product, x @ weight.weight[1])
    torch.testing.assert_close((added, whole), (0.5 * weight.left @ weight.right, weight.weight))
