"""Fake tensors for floats alone: they have shapes and no values, whole numbers are real.

Torch's FakeTensorMode fakes everything, and stops where a model looks at a value. Here weights, pixels and sound are
meta tensors; token ids, masks and grids are real tensors on the CPU, because models look into them (which tokens stand
for an image, how long is the longest sequence). Where the two meet, the result is a meta tensor. Where a model asks for
the value of a meta tensor after all, it gets 1 (or False): what runs then is one path through the model, with true
shapes except where a shape depends on the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from adaptkit.anatomy.trace.shapes import ShapeMemo

aten = torch.ops.aten


class FakeFloatMode(TorchDispatchMode):
    """While active, operators accept meta and CPU tensors side by side and answer questions about values."""

    def __init__(self) -> None:
        super().__init__()
        self._shapes = ShapeMemo()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        key = self._shapes.key(func, args, kwargs)
        known = self._shapes.recall(key)
        if known is not None:
            return known
        out = _run(func, args, kwargs)
        if key is not None:
            self._shapes.note(key, (args, kwargs), out)
        return out


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    fake = {value.is_meta for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)}
    if True not in fake:
        return func(*args, **kwargs)
    if func in _ANSWERS:
        return _ANSWERS[func](func, *args, **kwargs)
    if func is aten._to_copy.default and _leaves_meta(kwargs):
        return _full(args[0], kwargs.get("dtype") or args[0].dtype)
    return _mixed(func, args, kwargs) if False in fake else func(*args, **kwargs)


def _mixed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Real tensors meet fake ones: the result is fake, unless it is written into a real one, which keeps its values."""
    if func._schema.name.endswith("_") and isinstance(args[0], Tensor) and not args[0].is_meta:
        return args[0]
    return func(*tree_map(_to_meta, args), **tree_map(_to_meta, kwargs))


def _to_meta(value: Any) -> Any:
    return torch.empty_like(value, device="meta") if isinstance(value, Tensor) and not value.is_meta else value


def _leaves_meta(kwargs: dict[str, Any]) -> bool:
    device = kwargs.get("device")
    return device is not None and torch.device(device).type != "meta"


def _full(like: Tensor, dtype: torch.dtype) -> Tensor:
    """On the CPU; ones, so that nobody divides by zero, and False for masks."""
    return torch.full(like.shape, dtype != torch.bool, dtype=dtype)


def _scalar(func: Any, tensor: Tensor) -> Any:
    return False if tensor.dtype == torch.bool else 1.0 if tensor.dtype.is_floating_point else 1


def _one_row(func: Any, tensor: Tensor) -> Tensor:
    return tensor.new_empty((1, tensor.dim()), dtype=torch.long)


def _indexed(func: Any, tensor: Tensor, indices: list[Tensor | None], *rest: Any) -> Tensor:
    """Indexing, and writing at indices; a mask counts as the places where it is true, one if nobody knows."""
    places: list[Tensor | None] = []
    for index in indices:
        if index is None or index.dtype not in (torch.bool, torch.uint8):
            places.append(_to_meta(index))
        elif index.is_meta:
            places += [index.new_empty(1, dtype=torch.long)] * index.dim()
        else:
            places += [_to_meta(found) for found in index.nonzero(as_tuple=True)]
    if not rest:
        return func(_to_meta(tensor), places)
    return tensor if func._schema.name.endswith("_") else torch.empty_like(tensor)


def _selected(func: Any, tensor: Tensor, mask: Tensor) -> Tensor:
    return tensor.new_empty(1) if mask.is_meta else tensor.new_empty(int(mask.sum()), device="meta")


def _unique(func: Any, tensor: Tensor, *rest: Any, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    flat = tensor.flatten()
    return flat, flat.new_empty(tensor.shape, dtype=torch.long), flat.new_empty(flat.shape, dtype=torch.long)


def _repeats(func: Any, repeats: Tensor, *, output_size: int | None = None) -> Tensor:
    return repeats.new_empty(output_size or repeats.numel())


def _repeated(func: Any, tensor: Tensor, repeats: Tensor, dim: int | None = None, **options: Any) -> Tensor:
    source = tensor.flatten() if dim is None else tensor
    axis = dim or 0
    count = source.shape[axis] if repeats.is_meta else int(repeats.expand(source.shape[axis]).sum())
    shape = list(source.shape)
    shape[axis] = options.get("output_size") or count
    return source.new_empty(shape, device="meta")


def _counts(func: Any, tensor: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    return tensor.new_empty(max(1, minlength))


_ANSWERS: dict[Any, Callable[..., Any]] = {
    aten._local_scalar_dense.default: _scalar,
    aten.equal.default: lambda func, a, b: a.shape == b.shape,
    aten.nonzero.default: _one_row,
    aten.index.Tensor: _indexed,
    aten.index_put.default: _indexed,
    aten.index_put_.default: _indexed,
    aten.masked_select.default: _selected,
    aten._unique2.default: _unique,
    aten.unique_consecutive.default: _unique,
    aten.repeat_interleave.Tensor: _repeats,
    aten.repeat_interleave.self_Tensor: _repeated,
    aten.bincount.default: _counts,
    aten._nested_tensor_from_mask_left_aligned.default: lambda func, *rest: False,  # torch's encoder: go layer by layer
    aten._assert_async.default: lambda func, *rest: None,
    aten._assert_async.msg: lambda func, *rest: None,
}
