"""A nested state (optimizer, schedule, random generators) as one safetensors file, without any pickle.

Tensors go into the file's body under running numbers; the structure around them goes into its header as JSON.
Floats survive exactly: JSON writes the shortest text that reads back as the same double.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from adaptkit.errors import RunError

_HEADER = "adaptkit_state"


def pack(state: dict[str, Any]) -> bytes:
    """The state as the bytes of a safetensors file.

    Dicts (with str, int, float, bool or None keys), lists, tuples, tensors and plain scalars may nest freely.
    """
    tensors: dict[str, Tensor] = {}
    structure = _describe(state, tensors)
    return save(tensors, metadata={_HEADER: json.dumps(structure)})


def unpack(content: bytes, *, where: str) -> dict[str, Any]:
    """The state that `pack` was given; tensors come back on the CPU.

    Raises:
        RunError: the bytes are truncated or are not such a file.
    """
    try:
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        return _rebuild(json.loads(header["__metadata__"][_HEADER]), tensors)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"is not a readable checkpoint ({error}).", where=where, hint="Train again without --resume."
        ) from error


def _describe(value: Any, tensors: dict[str, Tensor]) -> Any:
    """JSON for one value; every container is a one-key object, so that keys and types survive."""
    if isinstance(value, Tensor):
        name = f"{len(tensors):06d}"
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_describe(k, tensors), _describe(v, tensors)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_describe(item, tensors) for item in value]}
    if isinstance(value, list):
        return {"list": [_describe(item, tensors) for item in value]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"cannot keep a {type(value).__name__} in a checkpoint")


def _rebuild(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_rebuild(k, tensors): _rebuild(v, tensors) for k, v in content}
    if kind == "tuple":
        return tuple(_rebuild(item, tensors) for item in content)
    if kind == "list":
        return [_rebuild(item, tensors) for item in content]
    raise ValueError(f"unknown entry {kind!r}")


def all_finite(tensors: dict[str, Tensor]) -> bool:
    """Whether no floating-point tensor holds NaN or infinity."""
    return all(bool(torch.isfinite(t).all()) for t in tensors.values() if t.is_floating_point())
