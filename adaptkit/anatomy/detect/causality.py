"""Which stacks are causal: what a token becomes depends on no later one.

Attentions of decoders say so (`is_causal`, `is_decoder`), and those of encoders that they are none. Where nobody says
anything, blocks whose forward takes a cache are those of a decoder: only what later tokens cannot change can be kept.
So a block that can be either counts as causal. The family table has the rest: masks that only the model around the
blocks makes (the text tower of CLIP).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from torch import nn

SAYS = ("is_causal", "is_decoder")
CACHES = frozenset(("past_key_values", "layer_past", "layer_state", "cache_params", "state"))

# The keys and values of these are made of what another stack returns.
OF_ANOTHER_STACK = ("cross_attn.k", "cross_attn.v", "cross_attn.kv")


def is_causal(model: nn.Module, blocks: Iterable[str]) -> bool:
    """Whether tokens of a stack see only what comes before them.

    Args:
        model: on any device.
        blocks: paths of the stack.
    """
    found = [model.get_submodule(path) for path in dict.fromkeys(blocks)]
    inside = [module for block in found for module in block.modules()]
    said = [value for module in inside for word in SAYS if isinstance(value := getattr(module, word, None), bool)]
    return any(said) if said else any(CACHES & set(inspect.signature(block.forward).parameters) for block in found)
