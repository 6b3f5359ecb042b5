"""Vectors behind the text in an encoder, as VL-T5 and VL-BART have them: past the embeddings, without positions.

The model is called with room for them at the end of its input. At the first block that room holds whatever the
embeddings made of nothing, position and norm among them, and is replaced (`sides.behind`). Where an attention adds a
bias by relative position (T5), it does so between words alone. Masks and lengths are the model's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit import sides
from adaptkit.anatomy.site import Stack
from adaptkit.surgery.applying import first_tensor
from adaptkit.surgery.hooks import Inputs, ranked, register

# B batch, T tokens, N of them behind the text, D width, H heads

RELATIVE = "relative_attention_bias"  # what the models of transformers call the table of such a bias


def make_room(model: nn.Module, stack: Stack) -> None:
    """Let an encoder take vectors behind its text. Without any laid out, it does what it did."""
    register(model.get_submodule(stack.blocks[0]), replace_last, "before")
    for path in stack.blocks:
        inside = cast(Iterable[tuple[str, nn.Module]], model.get_submodule(path).named_modules())
        for name, module in inside:
            if name.rpartition(".")[2] == RELATIVE:
                register(module, of_words_alone, "after")


@ranked(0)
def replace_last(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs:
    """Forward pre-hook of the first block: the vectors in place of its last tokens."""
    behind = sides.behind()
    if behind is None:
        return args, kwargs
    h = first_tensor(args, kwargs)  # (B, T, D)
    h = torch.cat([h[:, : -behind.shape[1]], behind.to(h.dtype)], dim=1)
    if args:
        return (h, *args[1:]), kwargs
    key = next(key for key, value in kwargs.items() if isinstance(value, Tensor))
    return args, {**kwargs, key: h}


@ranked(0)
def of_words_alone(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
    """Forward hook of a table of relative positions, (T, T, H): nothing to, from or between the vectors."""
    behind = sides.behind()
    if behind is None:
        return output
    n = behind.shape[1]
    return functional.pad(output[:-n, :-n], (0, 0, 0, n, 0, n))
