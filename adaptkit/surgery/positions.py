"""Tokens counted from behind a prefix: the positions of a stack, moved up by its length as PEFT's cache moves them.

Positions become vectors at few modules of a model: a rotary embedding, or a table with a row for each. Those of a stack
are shown positions that are L higher, however the model counts them: from its cache, from its mask, or as it is told.
What is looked up in another way (relative positions, ALiBi) has none that could be moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from adaptkit.anatomy.detect.sequence_sites import arguments_of
from adaptkit.anatomy.site import Site
from adaptkit.anatomy.tables.families import words
from adaptkit.errors import SiteError
from adaptkit.surgery.hooks import Inputs, bindings, drop, ranked, register

MOVED = "adapter_moved"  # on a module that turns positions into vectors


class Moved(NamedTuple):
    """What moves the positions of a module.

    Attributes:
        key: its argument that they are, and which one.
        place: see key.
        lengths: name of an adapter -> by how much.
        hosts: name of an adapter -> how many hosts of it there are.
    """

    key: str
    place: int
    lengths: dict[str, int]
    hosts: dict[str, int]


def check(model: nn.Module, site: Site, adapter: str) -> None:
    """Raise SiteError where the positions of the tokens at a site cannot be moved."""
    place = f"adapter.{adapter} at {site.full_name}"
    if site.name.startswith("cross_attn"):
        raise SiteError(
            f"{place}: a cross-attention knows no positions that a prefix could move.",
            hint='Write positions = "own" there, in a table of its own.',
        )
    if not modules_of(model, site.path):
        raise SiteError(
            f"{place}: there are no positions that a prefix could move. The tokens are told apart by how far they are "
            "from each other, or in a way that is not known.",
            hint='Write positions = "own".',
        )


def attach(model: nn.Module, path: str, name: str) -> None:
    """Move the positions of the stack around a host, once for all its hosts of one adapter."""
    length = bindings(model.get_submodule(path))[name].moved
    for module in modules_of(model, path):
        known: Moved | None = getattr(module, MOVED, None)
        key = "position_ids" if is_rotary(module) else "input"
        known = known or Moved(key, 0 if has_offset(module) else arguments_of(module).index(key), {}, {})
        hosts = known.hosts.get(name, 0) + 1
        lengths, counts = {**known.lengths, name: length}, {**known.hosts, name: hosts}
        setattr(module, MOVED, known._replace(lengths=lengths, hosts=counts))
        if not has_offset(module):
            register(module, move, "before")
        elif hosts == 1:
            module.offset += length


def detach(model: nn.Module, path: str, name: str) -> None:
    """Undo `attach`, once."""
    for module in modules_of(model, path):
        known: Moved = getattr(module, MOVED)
        if known.hosts[name] > 1:
            setattr(module, MOVED, known._replace(hosts={**known.hosts, name: known.hosts[name] - 1}))
            continue
        if has_offset(module):
            module.offset -= known.lengths[name]
        lengths = {other: length for other, length in known.lengths.items() if other != name}
        if lengths:
            setattr(module, MOVED, known._replace(lengths=lengths, hosts={n: known.hosts[n] for n in lengths}))
        else:
            delattr(module, MOVED)
            drop(module, move)


def modules_of(model: nn.Module, path: str) -> list[Any]:
    """What turns positions into vectors, in the innermost module around a host that has any; none where it reads no
    token ids: the places of a picture are all taken."""
    parts = path.split(".")
    for length in range(len(parts) - 1, -1, -1):
        around = model.get_submodule(".".join(parts[:length]))
        inside = cast(Iterable[tuple[str, nn.Module]], around.named_modules())
        found = [each for name, each in inside if is_rotary(each) or is_table(name.rpartition(".")[2], each)]
        if found:
            return found if "input_ids" in arguments_of(around) else []
    return []


def is_rotary(module: nn.Module) -> bool:
    """It makes the sines and cosines of positions that it is given."""
    return "rotary" in type(module).__name__.lower() and "position_ids" in arguments_of(module)


def is_table(word: str, module: nn.Module) -> bool:
    """It has a vector for each position, and looks them up or knows how far ahead of them its first row is."""
    plain = isinstance(module, nn.Embedding) and type(module).forward is nn.Embedding.forward
    return word in words("positions") and (plain or has_offset(module))


def has_offset(module: nn.Module) -> bool:
    """BART's and OPT's tables add it to positions that they count themselves."""
    return isinstance(module, nn.Embedding) and isinstance(getattr(module, "offset", None), int)


@ranked(0)
def move(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs:
    """Forward pre-hook of what turns positions (B, T) into vectors."""
    moved: Moved = getattr(module, MOVED)
    key, place, by = moved.key, moved.place, sum(moved.lengths.values())
    if isinstance(kwargs.get(key), Tensor):
        return args, {**kwargs, key: kwargs[key] + by}
    return (*args[:place], args[place] + by, *args[place + 1 :]), kwargs
