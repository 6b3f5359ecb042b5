"""The side inputs of the running forward: named modality vectors that adapters read.

Whoever runs the model lays the sides out with `use_sides`; adapters pick them up; afterwards they are cleared, so that
no adapter ever sees the vectors of another batch. Kept per thread (a `ContextVar` cannot be set inside
`torch.compile(fullgraph=True)`, a thread-local can, and data-parallel threads stay apart).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from adaptkit.errors import SiteError, nearest
from adaptkit.routing import Routing

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
        return cls(tensor, mask, mask.any(1))

    def counted(self) -> Tensor:
        """(B, T, E), zeros in place of what does not count, which may hold anything: 0 * NaN would be NaN."""
        return torch.where(self.mask.unsqueeze(-1), self.tensor, 0.0)


class Sides(dict[str, Side]):
    """Name -> side, and what else an adapter may read besides its stream.

    Attributes:
        mask: (B, T) bool, True where a token of the stream counts; None where every token does.
        before: (B, P) bool, at a later step of a generation, which of the tokens before the stream's count; None where
            the stream is a whole sequence. For adapters with `reads_earlier`.
        task: the task this batch belongs to, or those of its samples; None where nobody said.
        weight: of the host, (D, C, ...), for adapters with `reads_weight`.
        bias: of the host, (D,), or None where it has none.
        blocks: what the blocks returned, each (B, T, D), in order, for adapters with `reads_blocks`.
    """

    mask: Tensor | None = None
    before: Tensor | None = None
    task: str | Routing | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None
    blocks: tuple[Tensor, ...] = ()

    def of_task(self, task: str, rows: Tensor) -> Sides:
        """What an adapter reads for these rows of its stream, which belong to one task."""
        found = Sides({name: Side(s.tensor[rows], s.mask[rows], s.present[rows]) for name, s in self.items()})
        found.mask, found.before = (None if part is None else part[rows] for part in (self.mask, self.before))
        found.task, found.weight, found.bias = task, self.weight, self.bias
        found.blocks = tuple(block[rows] for block in self.blocks)
        return found


class _Running(threading.local):
    sides: Mapping[str, Side] | None = None
    masks: Mapping[str, Tensor] = {}  # plain dicts, never written to: torch.compile reads them at any place
    task: str | Routing | None = None
    spans: Mapping[str, tuple[int, int | None]] = {}
    towers: dict[str, Side] | None = None
    counts: Mapping[str, Tensor] = {}
    behind: Tensor | None = None


_running = _Running()


@contextmanager
def use_sides(
    sides: Mapping[str, Side | Tensor] = MappingProxyType({}),
    masks: Mapping[str, Tensor] | None = None,
    *,
    task: str | Sequence[str] | Routing | None = None,
    spans: Mapping[str, tuple[int, int | None]] | None = None,
    blocks: dict[str, Side] | None = None,
    behind: Tensor | None = None,
) -> Iterator[None]:
    """Lay out the sides of one forward: `with use_sides({"poster": vectors}): model(**inputs)`.

    Args:
        sides: name -> side, or a tensor (B, E) or (B, T, E) without gaps.
        masks: name of a stack ("" where there is one) -> (B, T) bool, its tokens that count.
        task: of this batch, or of each of its samples, for adapters that tell tasks apart.
        spans: modality -> (start, stop) of its tokens in the stream, for sides "span:NAME".
        blocks: what blocks of other models returned already, for sides "NAME@block.out"; those that run now are added.
        behind: (B, N, D) vectors that take the place of an encoder's last tokens (`surgery.behind`).
    """
    given = {name: side if isinstance(side, Side) else Side.of(side) for name, side in sides.items()}
    with _laid_out(given, masks or {}, Routing.of(task), spans or {}, {} if blocks is None else blocks, {}, behind):
        yield


@contextmanager
def use_masks(masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Let the stacks that run inside have these masks; everything else that is laid out stays.

    For a tower, which alone knows how long its streams are, within the forward of the whole model.
    """
    now = _running
    before = now.masks
    now.masks = masks
    try:
        yield
    finally:
        now.masks = before


@contextmanager
def _laid_out(
    sides: Mapping[str, Side] | None,
    masks: Mapping[str, Tensor],
    task: str | Routing | None,
    spans: Mapping[str, tuple[int, int | None]],
    towers: dict[str, Side] | None,
    counts: Mapping[str, Tensor],
    behind: Tensor | None,
) -> Iterator[None]:
    now = _running
    before = now.sides, now.masks, now.task, now.spans, now.towers, now.counts, now.behind
    now.sides, now.masks, now.task, now.spans, now.towers, now.counts = sides, masks, task, spans, towers, counts
    now.behind = behind
    try:
        yield
    finally:
        now.sides, now.masks, now.task, now.spans, now.towers, now.counts, now.behind = before


def read(names: tuple[str, ...], stack: str = "") -> Sides:
    """The named sides, in this order, with the task and the mask of the stack.

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
    found.mask = mask(stack)
    found.task = _running.task
    return found


def mask(stack: str) -> Tensor | None:
    """(B, T) of a stack: its tokens that count; None where nobody said."""
    return _running.masks.get(stack)


def count(stack: str, tokens: Tensor) -> None:
    """Lay out which tokens of a causal stack count: (B, P + T), P that a cache holds and T that it is given now."""
    _running.counts = {**_running.counts, stack: tokens}


def counted(stack: str, length: int) -> tuple[Tensor | None, Tensor | None]:
    """What `count` laid out: (B, T) of the last `length` tokens, and (B, P) of those before, None where P is 0."""
    tokens = _running.counts.get(stack)
    if tokens is None or tokens.shape[1] < length:
        return None, None
    earlier = tokens.shape[1] - length
    return tokens[:, earlier:], tokens[:, :earlier] if earlier else None


def span(name: str, stream: Tensor, counts: Tensor | None, shift: int = 0) -> Side:
    """The tokens of one modality within the stream (B, T, D) that an adapter sits on.

    Args:
        name: of the modality.
        stream: of the adapter.
        counts: (B, T), the tokens of the stream that count.
        shift: tokens that a prompt put before the sequence.

    Raises:
        SiteError: nobody said where they are.
    """
    if name not in _running.spans:
        raise SiteError(
            f"it is not known where the tokens of {name!r} are in the stream.",
            hint="Run the backbone inside `with ak.use_sides({}, spans={name: (start, stop)}):`.",
        )
    start, stop = _running.spans[name]
    start, stop = shifted((start, stop), shift)
    part = stream[:, start:stop]
    if part.shape[1] == 0:
        raise SiteError(
            f"the stream has {stream.shape[1]} tokens here, and none of them belongs to {name!r}.",
            hint="Choose a site whose stream is the whole input sequence.",
        )
    if counts is None:
        return Side.of(part)
    counted = counts[:, start:stop]
    return Side(part, counted, counted.any(1))


def lengthen(stack: str, before: int, after: int) -> None:
    """Let the mask of a stack, and the spans, know of tokens that joined its stream; negative numbers take them off."""
    mask = _running.masks.get(stack)
    if mask is not None:
        _running.masks = {**_running.masks, stack: functional.pad(mask, (before, after), value=True)}
    if before and _running.spans:
        _running.spans = {name: shifted(found, before) for name, found in _running.spans.items()}


def shifted(span: tuple[int, int | None], by: int) -> tuple[int, int | None]:
    """Where a span is once so many tokens came before the sequence; what counts from the end stays."""
    start, stop = span
    return start + by if start >= 0 else start, stop if stop is None or stop < 0 else stop + by


def behind() -> Tensor | None:
    """(B, N, D) what takes the place of an encoder's last tokens; None for nothing."""
    return _running.behind


def capture(place: str, states: Tensor, stack: str) -> None:
    """Lay out what a block of a tower returned, for adapters of other towers that read it in the same forward.

    Args:
        place: of the block among all models.
        states: (B, T, D).
        stack: whose mask goes with it.
    """
    if _running.towers is None:
        return
    counts = mask(stack)
    if counts is None or counts.shape != states.shape[:2]:
        _running.towers[place] = Side.of(states)
    else:
        _running.towers[place] = Side(states, counts, counts.any(1))


def captured(place: str) -> Side:
    """What the tower's block returned in this forward.

    Raises:
        SiteError: no forward is running, or that block did not run before the adapter.
    """
    found = None if _running.towers is None else _running.towers.get(place)
    if found is None:
        raise SiteError(
            f"{place} did not run before the adapter that reads it.",
            hint="Run the model inside `with ak.use_sides({}):`, and read only towers that come first.",
        )
    return found


def checkpoint_contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """`context_fn` for `torch.utils.checkpoint`: the recomputation sees the sides of its own forward.

    The recomputation runs inside backward, long after `use_sides` ended, on a GPU in another thread.
    """
    now = _running
    if now.sides is None and not now.counts and now.behind is None:
        return nullcontext(), nullcontext()
    return nullcontext(), _laid_out(now.sides, now.masks, now.task, now.spans, now.towers, now.counts, now.behind)
