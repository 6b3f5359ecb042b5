"""A weight and its low-rank change, multiplied by apart: for fused experts, whose forward picks the weights itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# E experts, X inputs, Y outputs of a weight as it is multiplied from the left, R rank, N tokens

ALIGNED = 8  # grouped products want rows of whole 16 bytes, so the rank is filled up with zeros to a multiple of this
Seen = Callable[[Tensor, Tensor], None]  # is shown a change, and what it is added to
PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__)


class Factored:
    """W + s L R in the place of W, which nobody ever adds up.

    What experts do with their weights is done with W and the two thin factors apart: picked (`[...]`), turned round
    (`transpose`), multiplied by, one expert at a time, all tokens with their own weight (bmm), or in groups. So no copy
    of the experts' weights is made or kept for backward, a step costs what its own tokens need, and a change too
    small beside W for half precision is not rounded away. Anything else is done with the sum (`whole`).

    Args:
        weight: (..., X, Y), or another one of these.
        left: (..., X, R) L.
        right: (..., R, Y) R.
        scale: s.
        seen: is shown what every product adds, and what it adds it to; None: nobody.
    """

    def __init__(
        self,
        weight: Tensor | Factored,
        left: Tensor,
        right: Tensor,
        scale: float,
        seen: Seen | None = None,
    ) -> None:
        self.weight, self.left, self.right, self.scale, self.seen = weight, left, right, scale, seen

    @property
    def shape(self) -> torch.Size:
        return self.weight.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.weight.device

    def __getattr__(self, name: str) -> Any:
        """Of the sum; but not its address, which it would not keep."""
        if name.startswith("__") or name == "data_ptr":
            raise AttributeError(f"a Factored has no {name}: it is no tensor in one piece")
        return getattr(self.whole(), name)

    def whole(self) -> Tensor:
        """(..., X, Y), the sum."""
        weight = self.weight if isinstance(self.weight, Tensor) else self.weight.whole()
        change = self.scale * (self.left @ self.right)
        if self.seen is not None:
            self.seen(change, weight)
        return weight + change.to(weight.dtype)

    def transpose(self, first: int, second: int) -> Tensor | Factored:
        """(..., X, Y) -> (..., Y, X)."""
        count = len(self.shape)
        if {first % count, second % count} == {count - 2, count - 1}:
            return self.turned()
        return self.whole().transpose(first, second)

    def __getitem__(self, experts: Any) -> Factored:
        """(E, X, Y) -> (X, Y) of one expert, or (N, X, Y) of the one of each token."""
        return Factored(self.weight[experts], self.left[experts], self.right[experts], self.scale, self.seen)

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given: dict[str, Any] = kwargs or {}
        grouped = "grouped_mm" in getattr(function, "__name__", "")
        if len(args) == 2 and (grouped or not given):
            one, other = args
            if function is functional.linear and isinstance(other, cls):
                return other.turned().added(function(one, other.weight), one, torch.matmul)
            if function in PRODUCTS and isinstance(other, cls):
                return other.added(function(one, other.weight), one, torch.matmul)
            if function is torch.bmm and isinstance(other, cls):
                return other.added(function(one, other.weight), one, torch.bmm)
            if function is torch.bmm and isinstance(one, cls):  # W x of columns x
                return one.turned().added(function(one.weight, other).mT, other.mT, torch.bmm).mT
            if grouped and isinstance(other, cls):
                return other.in_groups(function, one, given)
        added = [each.whole() if isinstance(each, cls) else each for each in args]
        return function(*added, **{key: each.whole() if isinstance(each, cls) else each for key, each in given.items()})

    def turned(self) -> Factored:
        """(..., Y, X)."""
        return Factored(self.weight.transpose(-2, -1), self.right.mT, self.left.mT, self.scale, self.seen)

    def added(self, product: Tensor, x: Tensor, multiply: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """x W + s (x L) R, in the precision of x W; the change in that of its factors.

        Args:
            product: x W.
            x: (..., N, X).
            multiply: how rows are multiplied by a factor.
        """
        change = self.scale * multiply(multiply(x.to(self.left.dtype), self.left), self.right)
        if self.seen is not None:
            self.seen(change, product)
        return product + change.to(product.dtype)

    def in_groups(self, function: Callable[..., Tensor], x: Tensor, given: dict[str, Any]) -> Tensor:
        """As `added`, for rows (N, X) in the order of their experts, with where each expert's end in `given`."""
        room = -self.left.shape[-1] % ALIGNED
        left = functional.pad(self.left, (0, room))
        right = functional.pad(self.right, (0, 0, 0, room))

        def multiply(rows: Tensor, factor: Tensor) -> Tensor:
            return function(rows, factor, offs=given["offs"])

        padded = Factored(self.weight, left, right, self.scale, self.seen)
        return padded.added(function(x, self.weight, **given), x, multiply)
