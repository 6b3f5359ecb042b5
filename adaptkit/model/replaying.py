"""Blocks that hand on what was kept of them instead of computing, and blocks that are watched while they compute.

For the time of one forward each block's `forward` is another one. Hooks run as always: adapters behind a block, and
those that read it, see what they would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit import sides
from adaptkit.cache.entry import Rows
from adaptkit.plan.frontier import Frontier
from adaptkit.surgery.applying import first_tensor

# B batch, T tokens, D width, R tokens that count in a batch

Forward = Callable[..., Any]
TENSOR = 0  # as the length of a tuple: the block returns its stream alone


class NotKeptError(Exception):
    """What a model gives cannot be kept; says why."""


@contextmanager
def replayed(model: nn.Module, frontier: Frontier, form: Any, given: Mapping[str, Tensor]) -> Iterator[None]:
    """Let the blocks below the frontier hand on what was kept of them.

    Args:
        model: the backbone or a tower.
        frontier: of it.
        form: how its blocks return, as `Recorded.form` says.
        given: number of a block -> what is kept of it: (R, D), or (B, ...) where every sample has one shape.
    """

    def forward_of(index: int) -> Forward:
        length, shape = form["blocks"][index]
        dtype = getattr(torch, form["dtypes"][str(index)]) if str(index) in given else None

        def forward(*args: Any, **kwargs: Any) -> Any:
            stream = first_tensor(args, kwargs)
            if dtype is not None:
                out = laid_out(given[str(index)].to(dtype), stream, frontier.stack, fixed=shape is not None)
            else:  # nobody reads it: it only has to be of the right shape
                out = stream if shape is None else stream.new_zeros(1).expand(len(stream), *shape)
            return out if length == TENSOR else (out, *[None] * (length - 1))

        return forward

    with _instead(model, {frontier.blocks[index]: forward_of(index) for index in range(frontier.first)}):
        yield


def laid_out(rows: Tensor, stream: Tensor, stack: str, *, fixed: bool) -> Tensor:
    """(B, T, D), zeros where no token counts; or (B, ...) as it is."""
    if fixed:
        return rows
    mask = sides.mask(stack)
    assert mask is not None, "it was there when the rows were kept"
    found = rows.new_zeros(*stream.shape[:2], rows.shape[-1])
    found[mask] = rows
    return found


class Recorded:
    """What blocks returned in one forward.

    Attributes:
        rows: number of a block -> what is kept of it.
        form: how each block returns: the length of its tuple (or 0), the shape of a sample where there is no mask.
    """

    def __init__(self, frontier: Frontier) -> None:
        self.frontier = frontier
        self.rows: dict[str, Rows] = {}
        self._blocks: dict[int, tuple[int, list[int] | None]] = {}

    @property
    def form(self) -> dict[str, Any]:
        """For `replayed`.

        Raises:
            NotKeptError: a block did not run.
        """
        if len(self._blocks) < self.frontier.first:
            raise NotKeptError("some of its blocks did not run")
        dtypes = {name: str(rows.values.dtype).removeprefix("torch.") for name, rows in self.rows.items()}
        return {"blocks": [list(self._blocks[index]) for index in range(self.frontier.first)], "dtypes": dtypes}

    def add(self, index: int, out: Any, batch: int) -> None:
        stream = out[0] if isinstance(out, tuple) and out else out
        if not isinstance(stream, Tensor) or len(stream) != batch:
            raise NotKeptError(f"its blocks return {type(out).__name__}, not one stream")
        if isinstance(out, tuple) and any(part is not None for part in out[1:]) and self._goes_on:
            raise NotKeptError("its blocks hand on more than their stream")
        mask = sides.mask(self.frontier.stack)
        if mask is not None and mask.shape != stream.shape[:2]:
            raise NotKeptError("its stream is not as long as what it reads")
        shape = None if mask is not None else [*stream.shape[1:]]
        length = len(out) if isinstance(out, tuple) else TENSOR
        if self._blocks.setdefault(index, (length, shape)) != (length, shape):
            raise NotKeptError("its blocks return another shape each time")
        if index in self.frontier.kept:
            ones = torch.ones(batch, dtype=torch.long)
            found = Rows(stream, ones) if mask is None else Rows(stream[mask], mask.sum(1))
            self.rows[str(index)] = Rows(found.values.detach().cpu().clone(), found.counts.cpu())

    @property
    def _goes_on(self) -> bool:
        """Another block of the model reads what these hand on."""
        return self.frontier.first < len(self.frontier.blocks)


@contextmanager
def recorded(model: nn.Module, frontier: Frontier) -> Iterator[Recorded]:
    """What the blocks below the frontier return in the forward inside."""
    found = Recorded(frontier)

    def forward_of(index: int, path: str) -> Forward:
        own = model.get_submodule(path).forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            out = own(*args, **kwargs)
            found.add(index, out, len(first_tensor(args, kwargs)))
            return out

        return forward

    with _instead(model, {path: forward_of(i, path) for i, path in enumerate(frontier.blocks[: frontier.first])}):
        yield found


@contextmanager
def _instead(model: nn.Module, forwards: Mapping[str, Forward]) -> Iterator[None]:
    """These modules run another forward meanwhile."""
    before: list[tuple[Any, Any]] = []
    try:
        for path, forward in forwards.items():
            module = model.get_submodule(path)
            before.append((module, vars(module).get("forward")))
            module.forward = forward
        yield
    finally:
        for module, own in before:
            if own is None:
                del module.forward
            else:
                module.forward = own
