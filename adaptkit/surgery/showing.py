"""Modules that show what they read or return to adapters elsewhere.

Parallel adapters and ladders read another place of their own stack: the place hands them its tensor. Adapters that read
another tower's blocks look them up in the running forward (`sides.publish`), because gradient checkpointing may run
them again when that tower does not.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from adaptkit import sides
from adaptkit.adapters.base import Adapter
from adaptkit.anatomy.layout import as_tokens
from adaptkit.anatomy.site import Layout, Site
from adaptkit.surgery.hooks import drop
from adaptkit.surgery.meeting import first_tensor, output_tensor

# Plain lists on the module that is read, not registered children: the parameters belong to their host alone.
READERS = {"before": "adapter_input_readers", "after": "adapter_output_readers"}
PUBLISHED = "adapter_publications"


class Reader(NamedTuple):
    """An adapter elsewhere, and what it calls this place."""

    adapter: Adapter
    path: str


class Publication(NamedTuple):
    """What a block of a tower lays out for the running forward, and how many adapters read it."""

    address: str
    layout: Layout
    stack: str
    readers: int


def watch(source: nn.Module, path: str, adapter: Adapter, when: Literal["before", "after"]) -> None:
    """Let `source` show what goes in (or comes out) to an adapter that sits elsewhere."""
    known = readers(source, when)
    if not known:
        if when == "before":
            source.register_forward_pre_hook(show_input, with_kwargs=True)
        else:
            source.register_forward_hook(show_output)
    setattr(source, READERS[when], [*known, Reader(adapter, path)])


def unwatch(source: nn.Module, path: str, adapter: Adapter, when: Literal["before", "after"]) -> None:
    left = readers(source, when)
    left.remove(next(reader for reader in left if reader.adapter is adapter and reader.path == path))
    if left:
        setattr(source, READERS[when], left)
        return
    delattr(source, READERS[when])
    drop(source, show_input if when == "before" else show_output)


def readers(source: nn.Module, when: Literal["before", "after"]) -> list[Reader]:
    """The adapters elsewhere that read what goes into (or comes out of) a module."""
    return list(getattr(source, READERS[when], []))


def show_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Forward pre-hook of a module whose input adapters elsewhere read."""
    for reader in readers(module, "before"):
        reader.adapter.shown[reader.path] = first_tensor(args, kwargs)


def show_output(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    """Forward hook of a module whose output adapters elsewhere read."""
    for reader in readers(module, "after"):
        reader.adapter.shown[reader.path] = output_tensor(output)


def publish(source: nn.Module, block: Site) -> None:
    """Let a block lay out what it returns for adapters of other towers."""
    known: Publication | None = getattr(source, PUBLISHED, None)
    if known is None:
        source.register_forward_hook(publish_output)
    readers = 1 + (known.readers if known else 0)
    setattr(source, PUBLISHED, Publication(block.address, block.layout, block.stack, readers))


def unpublish(source: nn.Module) -> None:
    known: Publication = getattr(source, PUBLISHED)
    if known.readers > 1:
        setattr(source, PUBLISHED, known._replace(readers=known.readers - 1))
        return
    delattr(source, PUBLISHED)
    drop(source, publish_output)


def publish_output(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    """Forward hook of a block that other towers read."""
    known: Publication = getattr(module, PUBLISHED)
    states: Tensor = output_tensor(output)
    sides.publish(known.address, as_tokens(states, known.layout), known.stack)
