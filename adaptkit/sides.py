"""The side inputs of the running forward: named modality vectors that adapters read.

Whoever runs the model lays the sides out with `use_sides`; adapters pick them up; afterwards they are cleared, so that
no adapter ever sees the vectors of another batch. Kept per thread (a `ContextVar` cannot be set inside
`torch.compile(fullgraph=True)`, a thread-local can, and data-parallel threads stay apart).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from adaptkit.errors import SiteError
from adaptkit.registry import nearest

# B batch, T tokens, E width of the side


@dataclass(frozen=True, slots=True)
class Side:
    """One modality of a batch.

    Attributes:
        tensor: (B, T, E) vectors.
        mask: (B, T) bool, True where a token counts. All False for an absent sample that is to contribute nothing.
        present: (B,) bool, True where the sample has this modality.
    """

    tensor: Tensor
    mask: Tensor
    present: Tensor

    @classmethod
    def of(cls, tensor: Tensor) -> Side:
        """A side without gaps from (B, E) vectors or (B, T, E) sequences."""
        if tensor.dim() == 2:
            tensor = tensor.unsqueeze(1)  # (B, 1, E)
        if tensor.dim() != 3:
            raise SiteError(
                f"a side input has shape {tuple(tensor.shape)}.",
                hint="Give (batch, width) or (batch, tokens, width).",
            )
        mask = torch.ones(tensor.shape[:2], dtype=torch.bool, device=tensor.device)
        return cls(tensor, mask, mask[:, 0])


class Sides(dict[str, Side]):
    """Name -> side, and the mask of the stream that the adapter sits on.

    Attributes:
        mask: (B, T) bool, True where a token of the stream counts; None where every token does.
    """

    mask: Tensor | None = None


class _Running(threading.local):
    sides: Mapping[str, Side] | None = None
    masks: Mapping[str, Tensor] = MappingProxyType({})


_running = _Running()


@contextmanager
def use_sides(sides: Mapping[str, Side | Tensor], masks: Mapping[str, Tensor] | None = None) -> Iterator[None]:
    """Lay out the sides of one forward: `with use_sides({"poster": vectors}): model(**inputs)`.

    Args:
        sides: name -> side, or a tensor (B, E) or (B, T, E) without gaps.
        masks: name of a stack ("" where there is one) -> (B, T) bool, its tokens that count.
    """
    before = _running.sides, _running.masks
    _running.sides = {name: side if isinstance(side, Side) else Side.of(side) for name, side in sides.items()}
    _running.masks = masks or {}
    try:
        yield
    finally:
        _running.sides, _running.masks = before


def read(names: tuple[str, ...], stack: str = "") -> Sides:
    """The sides an adapter asks for, in its order, and the mask of its stack.

    Raises:
        SiteError: no forward is running (a stale read), or a side was not given.
    """
    sides = _running.sides
    if sides is None and names:
        raise SiteError(
            f"the adapter reads {', '.join(names)}, but no side inputs are laid out.",
            hint="Call the adapted model, or run the backbone inside `with ak.use_sides({...}):`.",
        )
    found = Sides()
    for name in names:
        if sides is None or name not in sides:
            raise SiteError(f"the side {name!r} was not given.", hint=nearest(name, sides or {}))
        found[name] = sides[name]
    found.mask = _running.masks.get(stack)
    return found


def checkpoint_contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """`context_fn` for `torch.utils.checkpoint`: the recomputation sees the sides of its own forward.

    The recomputation runs inside backward, long after `use_sides` ended, on a GPU in another thread.
    """
    sides, masks = _running.sides, _running.masks
    return nullcontext(), (nullcontext() if sides is None else use_sides(sides, masks))
