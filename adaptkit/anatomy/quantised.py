"""Layers that keep their weight as codes: which they are, and the numbers that the codes stand for.

The one place that knows of bitsandbytes and torchao, by the attributes of their tensors, so that neither is needed.
Whoever wants the numbers of a layer asks `weight_of`; a code is never taken for a number.
"""

from __future__ import annotations

import copy
import importlib
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.errors import SiteError

# D width a projection writes, C width it reads

BITSANDBYTES = "bitsandbytes.functional"
NUMBERS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def is_quantised(layer: nn.Module) -> bool:
    """Its weight is kept as something else than the numbers it multiplies by."""
    weight: Any = layer._parameters.get("weight")
    if weight is None:
        return False
    if getattr(weight, "quant_state", None) is not None or weight.dtype not in NUMBERS:  # of bitsandbytes; codes
        return True
    if type(weight).dequantize is not Tensor.dequantize:  # of torchao: it says that it has other numbers
        return True
    # Of torchao with 4 bits: tensors made of others that do not say so. Sharded ones are made of others, too.
    return hasattr(weight, "__tensor_flatten__") and not hasattr(weight, "full_tensor")


def weight_of(layer: nn.Module) -> Tensor:
    """The numbers of a layer's weight, (D, C) of a linear layer: its own tensor, or a new one that its codes stand for.

    Raises:
        SiteError: they are kept in a form that is not known here.
    """
    weight: Any = layer.weight
    if not is_quantised(layer):
        return weight
    found = dequantised(layer, weight)
    if found is None or found.shape != shape_of(layer) or found.dtype not in NUMBERS:
        raise SiteError(
            f"the weight of a {type(layer).__name__} is kept as {weight.dtype} codes ({type(weight).__name__}), and "
            "what numbers they stand for is not known.",
            hint="Use an adapter that does not read its host's weight, such as lora, or load the backbone unquantised.",
        )
    return found


def dequantised(layer: Any, weight: Any) -> Tensor | None:
    """What the codes stand for; None where that is not known."""
    if weight.is_meta:
        return torch.empty(shape_of(layer), device="meta")
    if getattr(weight, "quant_state", None) is not None:  # bitsandbytes, 4 bits in blocks
        return in_blocks(weight)
    scale = getattr(weight, "SCB", None)  # bitsandbytes, 8 bits: the largest value of each row stands for 127
    scale = getattr(getattr(layer, "state", None), "SCB", None) if scale is None else scale
    if weight.dtype == torch.int8 and scale is not None:
        return weight.detach().float() * (scale.float() / 127).unsqueeze(1)
    if type(weight).dequantize is not Tensor.dequantize:  # torchao
        try:
            return weight.detach().dequantize()
        except (NotImplementedError, RuntimeError):
            return None
    return None


def in_blocks(weight: Any) -> Tensor:
    """(D, C) of a weight of bitsandbytes with 4 bits, which on some CPUs its first forward packs in another way."""
    library, codes, state = importlib.import_module(BITSANDBYTES), weight.data, weight.quant_state
    if getattr(state, "packing_format_for_cpu", False):
        packed, state = state, copy.copy(state)
        state.original_nested = False  # its scales are whole numbers no longer, and are not to be rounded again
        codes, state = library._convert_weight_packed_for_cpu_inverse(codes, state)
        state.absmax = packed.absmax.T.reshape(-1).float()  # which its own inverse leaves in the packed order
    return library.dequantize_4bit(codes, state)


def shape_of(layer: Any) -> tuple[int, int]:
    """(D, C) of a linear layer, (V, D) of an embedding, whatever the shape of its codes."""
    if isinstance(layer, nn.Embedding):
        return layer.num_embeddings, layer.embedding_dim
    return layer.out_features, layer.in_features


def stand_in(layer: nn.Module, dtype: torch.dtype) -> nn.Module | None:
    """A plain layer of its shape on the meta device, for a forward without values; None for other kinds of layers."""
    if isinstance(layer, nn.Embedding):
        return nn.Embedding(*shape_of(layer), device="meta", dtype=dtype)
    if isinstance(layer, nn.Linear):
        outputs, inputs = shape_of(layer)
        return nn.Linear(inputs, outputs, layer.bias is not None, device="meta", dtype=dtype)
    return None


def keep_codes(model: nn.Module) -> nn.Module:
    """Let no forward pack codes anew, which bitsandbytes does on some CPUs and which rounds their scales for good."""
    layer: Any
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    return model
