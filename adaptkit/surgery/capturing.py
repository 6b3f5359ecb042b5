"""Modules whose inputs or outputs are captured for adapters elsewhere.

Parallel adapters and ladders read another place of their own stack: the place hands them its tensor. Adapters that read
another tower's blocks look them up in the running forward (`sides.capture`), because gradient checkpointing may run
them again when that tower does not.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from adaptkit import sides
from adaptkit.adapters.base import Adapter
from adaptkit.anatomy.layout import as_tokens
from adaptkit.anatomy.site import Layout, Site
from adaptkit.surgery.applying import first_tensor, output_tensor
from adaptkit.surgery.hooks import drop, ranked, register

# Plain lists on the module that is read, not registered children: the parameters belong to their host alone.
READERS = {"before": "adapter_input_readers", "after": "adapter_output_readers"}
CAPTURED = {False: "adapter_block_capture", True: "adapter_return_capture"}  # behind a block's adapters, before them


class Reader(NamedTuple):
    """An adapter elsewhere, and what it calls this place."""

    adapter: Adapter
    path: str


class BlockCapture(NamedTuple):
    """What a block of a tower lays out for the running forward, and how many adapters read it."""

    place: str
    layout: Layout
    stack: str
    readers: int


def capture(source: nn.Module, path: str, adapter: Adapter, when: Literal["before", "after"]) -> None:
    """Keep what goes into `source` (or comes out) for an adapter that sits elsewhere."""
    register(source, capture_input if when == "before" else capture_output, when)
    setattr(source, READERS[when], [*readers(source, when), Reader(adapter, path)])


def release(source: nn.Module, path: str, adapter: Adapter, when: Literal["before", "after"]) -> None:
    """Undo `capture`."""
    left = readers(source, when)
    left.remove(next(reader for reader in left if reader.adapter is adapter and reader.path == path))
    if left:
        setattr(source, READERS[when], left)
        return
    delattr(source, READERS[when])
    drop(source, capture_input if when == "before" else capture_output)


def readers(source: nn.Module, when: Literal["before", "after"]) -> list[Reader]:
    """The adapters elsewhere that read what goes into (or comes out of) a module."""
    return list(getattr(source, READERS[when], []))


@ranked(2)
def capture_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Forward pre-hook of a module whose input adapters elsewhere read."""
    for reader in readers(module, "before"):
        reader.adapter.captured[reader.path] = first_tensor(args, kwargs)


@ranked(2)
def capture_output(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    """Forward hook of a module whose output adapters elsewhere read."""
    for reader in readers(module, "after"):
        reader.adapter.captured[reader.path] = output_tensor(output)


def place_of(block: Site, *, returned: bool) -> str:
    """What a block is called in the running forward: as its adapters left its output, or as it returned it."""
    return f"{block.address} as it returned" if returned else block.address


def capture_block(source: nn.Module, block: Site, *, returned: bool = False) -> None:
    """Keep what a block returns for the running forward, for adapters of other towers.

    Args:
        source: the block.
        block: its site.
        returned: before the adapters that are there, for models that wait for each other; else behind them.
    """
    known: BlockCapture | None = getattr(source, CAPTURED[returned], None)
    register(source, capture_returned if returned else capture_block_output, "after")
    readers = 1 + (known.readers if known else 0)
    place = place_of(block, returned=returned)
    setattr(source, CAPTURED[returned], BlockCapture(place, block.layout, block.stack, readers))


def release_block(source: nn.Module, *, returned: bool = False) -> None:
    """Undo `capture_block`, once."""
    known: BlockCapture = getattr(source, CAPTURED[returned])
    if known.readers > 1:
        setattr(source, CAPTURED[returned], known._replace(readers=known.readers - 1))
        return
    delattr(source, CAPTURED[returned])
    drop(source, capture_returned if returned else capture_block_output)


@ranked(2)
def capture_block_output(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    """Forward hook of a block that other towers read."""
    lay_out(getattr(module, CAPTURED[False]), output)


@ranked(-1)
def capture_returned(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    """Forward hook of a block that other towers read before its own adapters change what it returned."""
    lay_out(getattr(module, CAPTURED[True]), output)


def lay_out(known: BlockCapture, output: Any) -> None:
    states: Tensor = output_tensor(output)
    sides.capture(known.place, as_tokens(states, known.layout), known.stack)
