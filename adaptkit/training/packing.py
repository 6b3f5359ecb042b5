"""A nested state (optimizer, schedule, random generators) as one safetensors file, without any pickle.

Tensors go into the file's body under running numbers; the structure around them goes into its header as JSON.
Floats survive exactly: JSON writes the shortest text that reads back as the same double. The header also holds a
SHA-256 of the whole file, so that a single changed bit is found.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from adaptkit.errors import RunError

_HEADER = "adaptkit_state"  # one entry only, because safetensors writes several in any order
_UNSEALED = b"0" * 64  # stands in the place of the hash, before the structure, while it is computed


class DamagedCheckpointError(RunError):
    """The file is truncated, or not what was written (exit code 4)."""


def pack(state: dict[str, Any]) -> bytes:
    """The state as the bytes of a safetensors file.

    Dicts (with str, int, float, bool or None keys), lists, tuples, tensors and plain scalars may nest freely.
    """
    tensors: dict[str, Tensor] = {}
    structure = _describe(state, tensors)
    content = save(tensors, metadata={_HEADER: _UNSEALED.decode() + json.dumps(structure)})
    place = _place(content, _UNSEALED)
    return content[:place] + _digest(content, place).encode() + content[place + len(_UNSEALED) :]


def unpack(content: bytes, *, where: str) -> dict[str, Any]:
    """The state that `pack` was given; tensors come back on the CPU.

    Raises:
        DamagedCheckpointError: the bytes are not such a file, or not those that were written.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])["__metadata__"][_HEADER]
        written, structure = header[: len(_UNSEALED)], header[len(_UNSEALED) :]
        if _digest(content, _place(content, written.encode())) != written:
            raise ValueError("its SHA-256 is not the one it was written with")
        return _rebuild(json.loads(structure), load(content))
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedCheckpointError(
            f"is not a readable checkpoint ({error}).", where=where, hint="Train again without --resume."
        ) from error


def _place(content: bytes, digest: bytes) -> int:
    """Where the digest stands in the header. Quotation marks of the state are escaped there, so this is unique."""
    start = b'"%s":"' % _HEADER.encode()
    return content.index(start + digest) + len(start)


def _digest(content: bytes, place: int) -> str:
    """SHA-256 of the file as it was before its hash was put in."""
    digest, view = hashlib.sha256(), memoryview(content)
    for part in (view[:place], _UNSEALED, view[place + len(_UNSEALED) :]):
        digest.update(part)
    return digest.hexdigest()


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
