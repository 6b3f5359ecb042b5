"""Which tokens came before those of a causal stack: at a later step of a generation it is given the new ones alone.

The module around the stack is told: by its cache how many there were, by its attention mask which of them count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from adaptkit import sides
from adaptkit.anatomy.detect.causality import CACHES
from adaptkit.anatomy.detect.sequence_sites import arguments_of
from adaptkit.errors import SiteError
from adaptkit.surgery.hooks import bindings, drop, ranked, register

# B batch, T tokens given now, P earlier ones

COUNTED = "adapter_counts"


class Counted(NamedTuple):
    """On the module around a stack: whose tokens it counts, its positional arguments, how many adapters ask."""

    stack: str
    arguments: tuple[str, ...]
    readers: int


def attach(model: nn.Module, path: str, name: str) -> None:
    """Let the module around a host count its tokens, for the adapter `name`, which the host carries already."""
    root = around(model, path)
    known: Counted | None = getattr(root, COUNTED, None)
    register(root, count, "before")
    stack = bindings(model.get_submodule(path))[name].stack
    setattr(root, COUNTED, Counted(stack, arguments_of(root), 1 + (known.readers if known else 0)))


def detach(model: nn.Module, path: str) -> None:
    """Undo `attach`, once."""
    root = around(model, path)
    known: Counted = getattr(root, COUNTED)
    if known.readers > 1:
        setattr(root, COUNTED, known._replace(readers=known.readers - 1))
        return
    delattr(root, COUNTED)
    drop(root, count)


def around(model: nn.Module, path: str) -> nn.Module:
    """The innermost module around a host that takes token ids; the whole model where none does."""
    parts = path.split(".")
    outer = [model.get_submodule(".".join(parts[:length])) for length in range(len(parts) - 1, -1, -1)]
    return next((module for module in outer if "input_ids" in arguments_of(module)), model)


@ranked(1)
def count(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Forward pre-hook of the module around a stack, after a prompt has joined what it is given."""
    known: Counted = getattr(module, COUNTED)
    given = {**dict(zip(known.arguments, args, strict=False)), **kwargs}
    tokens = next((given[key] for key in ("inputs_embeds", "input_ids") if given.get(key) is not None), None)
    if tokens is None:
        return
    batch, length = tokens.shape[:2]
    total = length + earlier(given, length)
    counts = torch.ones(batch, total, dtype=torch.bool, device=tokens.device)
    mask = given.get("attention_mask")
    if isinstance(mask, Tensor):
        counts = visible(mask)[:, :total].to(tokens.device) if mask.shape[-1] >= total else counts
    sides.count(known.stack, counts)


def earlier(given: Mapping[str, Any], length: int) -> int:
    """P: what a cache says, else by how much the mask (B, P + T) is longer than what is given now.

    Raises:
        SiteError: a cache that does not say how many tokens it holds.
    """
    caches = [value for key, value in given.items() if key in CACHES and value is not None]
    sizes = [int(cache.get_seq_length()) for cache in caches if hasattr(cache, "get_seq_length")]
    if any(sizes):
        return max(sizes)
    mask = given.get("attention_mask")
    if caches and isinstance(mask, Tensor) and mask.dim() == 2:
        return max(mask.shape[1] - length, 0)
    if caches and not sizes:
        raise SiteError(
            f"an adapter has to know its position, and a {type(caches[0]).__name__} does not tell how much it holds.",
            hint="Generate with use_cache=False.",
        )
    return 0


def visible(mask: Tensor) -> Tensor:
    """(B, P + T) bool, the tokens that count: of such a mask, or what the last token sees of one (B, ., T, P + T)."""
    last = mask[:, 0, -1] if mask.dim() == 4 else mask
    return last >= 0 if mask.dim() == 4 and mask.is_floating_point() else last.bool()
