"""What operators give for meta tensors of given shapes, worked out once: the blocks of a stack are alike.

Most of torch's shape functions are written in Python, and take longer than the small kernels they stand for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

Key = tuple[Any, ...]
Form = tuple[torch.Size, tuple[int, ...], torch.dtype]  # shape, strides, dtype


class ShapeMemo:
    """Operator and forms of what it reads -> forms of what it gives.

    Only of operators that make new tensors: one that writes into an argument or gives a view of it has to run.
    """

    def __init__(self) -> None:
        self._known: dict[Key, tuple[Form | None, ...]] = {}
        self._makes: dict[Any, bool] = {}

    def key(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Key | None:
        """What the result depends on; None where it has to be worked out each time: values, real tensors, views."""
        makes = self._makes.get(func)
        if makes is None:
            makes = self._makes[func] = _makes_tensors(func)
        if not makes:
            return None
        try:
            key = func, *map(_form, args), *((name, _form(value)) for name, value in kwargs.items())
            hash(key)
        except TypeError:  # a real tensor, a generator of random numbers, a symbolic size
            return None
        return key

    def recall(self, key: Key | None) -> Any:
        """New tensors of the forms that are known, or None."""
        forms = None if key is None else self._known.get(key)
        if forms is None:
            return None
        made = tuple(form and torch.empty_strided(form[0], form[1], dtype=form[2], device="meta") for form in forms)
        return made[0] if len(made) == 1 else made

    def note(self, key: Key, inputs: Any, out: Any) -> None:
        """Remember what came of it, if it is new meta tensors: some operators give a view and do not say so."""
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)}
        found = out if isinstance(out, tuple) else (out,)
        tensors = [value for value in found if value is not None]
        if not tensors or not all(isinstance(value, Tensor) and value.is_meta for value in tensors):
            return
        stores = {value.untyped_storage()._cdata for value in tensors}
        if len(stores) == len(tensors) and not stores & given:
            self._known[key] = tuple(None if value is None else _form(value) for value in found)


def _form(value: Any) -> Any:
    """A tensor's form; of other arguments the value with its type, since 1, 1.0 and True are equal."""
    if isinstance(value, Tensor):
        if not value.is_meta:
            raise TypeError
        return value.shape, value.stride(), value.dtype
    if isinstance(value, list | tuple):
        return tuple(map(_form, value))
    return type(value), value


def _makes_tensors(func: Any) -> bool:
    schema = func._schema
    tensors = all(str(result.type) == "Tensor" for result in schema.returns)
    shared = any(each.alias_info is not None for each in (*schema.arguments, *schema.returns))
    return bool(schema.returns) and tensors and not shared
