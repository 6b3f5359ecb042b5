"""Trained keys and values before those of an attention, by way of transformers' attention interface.

An attention of transformers looks its implementation up by the name in its configuration. One that carries prefixes
gets a configuration of its own (a copy) whose name leads to `attend`, which lengthens keys, values and mask and then
calls what the model itself would have called. No other module sees anything of it, and the model's configuration, from
which it makes its masks, stays what it was.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit import sides
from adaptkit.anatomy.trace.probe import PREFIXED
from adaptkit.errors import SiteError
from adaptkit.surgery.hooks import adapters_of, bindings
from adaptkit.surgery.switching import INTERFACES, SWITCHED, Interface, switch, switch_back, switched

# B batch, H heads of the keys, Q queries, K keys, L keys of all prefixes of a host, E width of a head

Implementation = Callable[..., tuple[Tensor, Tensor | None]]

# Implementations that take any mask (B, ., Q, K).
WITH_MASKS = ("sdpa", "eager")


def check(host: Any) -> None:
    """Raise SiteError unless the attention's implementation takes a mask that a prefix can lengthen."""
    config = getattr(host, SWITCHED).config if hasattr(host, SWITCHED) else host.config
    original(functions_of(host), config)


def attach(model: nn.Module, path: str, name: str) -> None:
    """Switch the attention over, once; it carries the adapter already."""
    host: Any = model.get_submodule(path)
    switch(host, INTERFACES[PREFIXED], functions_of(host))


def detach(model: nn.Module, path: str, name: str) -> None:
    """Give the attention its configuration back if it carries no other prefix."""
    switch_back(model.get_submodule(path), name)


def functions_of(host: nn.Module) -> dict[str, Implementation]:
    """The implementations with masks that the attention's own file knows."""
    names = inspect.unwrap(type(host).forward).__globals__
    found = {"sdpa": names["ALL_ATTENTION_FUNCTIONS"]["sdpa"], "eager": names.get("eager_attention_forward")}
    return {name: function for name, function in found.items() if function is not None}


def original(functions: Mapping[str, Implementation], config: Any) -> Implementation:
    """What the attention would call without prefixes.

    Raises:
        SiteError: an implementation without masks of the form (B, ., Q, K).
    """
    name = config._attn_implementation
    if name not in functions:
        raise SiteError(
            f"a prefix cannot join the attention implementation {name!r}.",
            hint=f"Load the backbone with attn_implementation = {' or '.join(WITH_MASKS)}.",
        )
    return functions[name]


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """Attention over the prefixes and the keys it is given, by the model's own implementation.

    Args:
        module: the attention, which carries prefixes.
        query: (B, ., Q, E).
        key: (B, H, K, E), as are the values.
        value: see key.
        attention_mask: (B, ., Q, K), bool or added to the scores; None where every key is seen, or only earlier ones.
        kwargs: of the implementation.
    """
    before = switched(module)
    function = original(before.functions, before.config)
    found = prefixes(module, key)
    if not found:  # the model is studied without its adapters
        return function(module, query, key, value, attention_mask, **kwargs)
    keys, values = torch.cat(found, dim=3).unbind(1)
    count = keys.shape[2]
    if attention_mask is None and function is before.functions["sdpa"] and only_earlier(module, query, kwargs):
        attention_mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=key.device).tril()
        attention_mask = attention_mask[None, None]  # what its `is_causal` means; it would hide the prefix
    if attention_mask is not None:
        seen = True if attention_mask.dtype == torch.bool else 0.0
        attention_mask = functional.pad(attention_mask, (count, 0), value=seen)
    if kwargs.get("position_bias") is not None:  # T5: a prefix has no position
        kwargs["position_bias"] = functional.pad(kwargs["position_bias"], (count, 0))
    key, value = torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)
    return function(module, query, key, value, attention_mask, **kwargs)


def only_earlier(module: Any, query: Tensor, kwargs: Mapping[str, Any]) -> bool:
    """Without a mask, scaled dot-product attention hides later keys from a query."""
    causal = kwargs.get("is_causal")
    return query.shape[2] > 1 and (getattr(module, "is_causal", True) if causal is None else causal)


def prefixes(module: nn.Module, key: Tensor) -> list[Tensor]:
    """(B, 2, H, L, E) keys and values of each prefix of an attention, in the precision of its keys (B, H, K, E)."""
    found: list[Tensor] = []
    for name, adapter in adapters_of(module).items():
        binding = bindings(module)[name]
        if binding.when == "attention":
            empty = key[:, 0, :0].to(next(adapter.parameters()).dtype)
            found.append(adapter(empty, empty, sides.read((), binding.stack)).to(key.dtype))  # (B, 2, H, L, E)
    return found


def _register() -> None:
    from adaptkit.anatomy.loading.transformers_models import register_attention

    register_attention(PREFIXED, attend)


INTERFACES[PREFIXED] = Interface(PREFIXED, "_attn_implementation_internal", _register)
