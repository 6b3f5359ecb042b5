"""The activations of one frozen part: a folder of shards, each there whole or not at all.

    <cache>/<key>/entry.json                  what is kept here; `key` is its hash
    <cache>/<key>/<sha256>.safetensors        activations of some samples; the name is the hash of the content
    <cache>/<key>/lock                        held while somebody reads; `filling` while somebody computes

A shard has, for every part, the rows of all its samples one after another, how many each sample has, and who they are.
It is written under another name, synchronised and renamed, so that a kill leaves it whole or not there; what is damaged
later has another hash than its name and is thrown away. Read memory-mapped.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from adaptkit.atomic import sweep, write_bytes, write_json
from adaptkit.cache.files import DESCRIPTION, FILLING, LOCK, SUFFIX, claimed, intact, released
from adaptkit.cache.identity import SIZE

# S samples of a shard or a batch, R rows of all of them

SHARD_BYTES, SHARD_SECONDS = 2**26, 60.0  # what a kill can cost: whichever is reached first
WHO, COUNTS, FORM = "samples", ".rows", "form"


class Rows(NamedTuple):
    """One part of the activations of some samples: (R, ...), and (S,) how many rows each sample has."""

    values: Tensor
    counts: Tensor

    @classmethod
    def of(cls, samples: Sequence[Tensor]) -> Rows:
        """Of the rows of each sample."""
        return cls(torch.cat([*samples]), torch.tensor([len(rows) for rows in samples]))


class Shard(NamedTuple):
    """A shard, memory-mapped: part -> its rows, and where those of each sample begin, (S + 1,)."""

    values: dict[str, Tensor]
    starts: dict[str, list[int]]

    def rows(self, name: str, sample: int) -> Tensor:
        start, stop = self.starts[name][sample : sample + 2]
        return self.values[name][start:stop]


class Entry:
    """The activations of one frozen part.

    Args:
        folder: of the entry.
        description: what decides about the activations, as JSON.

    Attributes:
        form: what the model has to be told to take them; None until something is kept.
        damaged: shards that were thrown away when it was opened.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        self.folder, self.description = folder, dict(description)
        self._handle: int | None = None
        self.form: Any = None
        self.damaged: list[Path] = []
        self._index: dict[bytes, tuple[Path, int]] = {}
        self._shards: dict[Path, Shard] = {}
        self._waiting: list[tuple[bytes, dict[str, Tensor]]] = []
        self._bytes, self._since = 0, time.monotonic()

    @classmethod
    def of(cls, cache: Path, what: str, description: Mapping[str, Any]) -> Entry:
        """The entry of a cache for what is described so, open; `what` says it in words and decides nothing."""
        text = json.dumps(description, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:32]
        return cls(cache / key, {"what": what, **description}).opened()

    def __reduce__(self) -> Any:  # for workers that are not forked
        return _reopened, (self.folder, self.description)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, sample: bytes) -> bool:
        return sample in self._index

    def opened(self) -> Entry:
        """Read what is there and hold it against `prune`; nothing is made where nothing is."""
        if self.folder.is_dir():
            self._handle = self._handle or claimed(self.folder / LOCK, shared=True)
            for path in sorted(self.folder.glob(f"*{SUFFIX}")):
                if path not in self._shards:
                    self._open(path)
            with suppress(OSError):  # when it was used last
                os.utime(self.folder / DESCRIPTION)
        return self

    def close(self) -> None:
        """Let it be removed; what was taken of it stays."""
        released(self._handle)
        self._handle = None

    __del__ = close

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Be the only one who computes for this entry; what others computed meanwhile is there then."""
        write_json(self.folder / DESCRIPTION, self.description)
        sweep(self.folder)
        handle = claimed(self.folder / FILLING, wait=True)
        try:
            self.opened()
            self._since = time.monotonic()
            yield
        finally:  # what was computed stays, whatever ended it
            self.commit()
            released(handle)

    def add(self, samples: Sequence[bytes], parts: Mapping[str, Rows], form: Any) -> None:
        """Keep the activations of samples; on disk when a shard is full, and at the end of `filling`."""
        split = {name: rows.values.split(rows.counts.tolist()) for name, rows in parts.items()}
        self.form = form
        for number, sample in enumerate(samples):
            if sample in self._index:
                continue
            own = {name: rows[number] for name, rows in split.items()}
            self._index[sample] = (Path(), -1)  # known, and not to be read yet
            self._waiting.append((sample, own))
            self._bytes += sum(rows.nbytes for rows in own.values())
        if self._bytes >= SHARD_BYTES or time.monotonic() - self._since >= SHARD_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Write what waits as a shard."""
        if not self._waiting:
            return
        samples, rows = zip(*self._waiting, strict=True)
        tensors = {WHO: torch.frombuffer(bytearray(b"".join(samples)), dtype=torch.uint8).view(-1, SIZE)}
        for name in rows[0]:
            tensors[name], tensors[name + COUNTS] = Rows.of([own[name] for own in rows])
        content = safetensors.torch.save(tensors, {FORM: json.dumps(self.form)})
        path = self.folder / f"{hashlib.sha256(content).hexdigest()}{SUFFIX}"
        write_bytes(path, content)
        self._waiting, self._bytes, self._since = [], 0, time.monotonic()
        self._open(path)

    def take(self, samples: Sequence[bytes]) -> dict[str, Rows] | None:
        """Part -> the rows of these samples, one after another; None where one of them is not there."""
        places = [self._index.get(sample) for sample in samples]
        found = [(self._shards[place[0]], place[1]) for place in places if place is not None and place[1] >= 0]
        if len(found) < len(samples):
            return None
        return {name: Rows.of([shard.rows(name, at) for shard, at in found]) for name in found[0][0].values}

    def _open(self, path: Path) -> None:
        try:
            if not intact(path):
                raise ValueError("its content is not what its name says")
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
                self.form = json.loads(file.metadata()[FORM])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            with suppress(OSError):
                path.unlink()
            self.damaged.append(path)
            return
        starts = {
            name.removesuffix(COUNTS): [0, *counts.cumsum(0).tolist()]
            for name, counts in tensors.items()
            if name.endswith(COUNTS)
        }
        self._shards[path] = Shard({name: tensors[name] for name in starts}, starts)
        who = tensors[WHO].contiguous().numpy().tobytes()
        for number in range(len(who) // SIZE):
            self._index[who[number * SIZE : (number + 1) * SIZE]] = (path, number)


def _reopened(folder: Path, description: Mapping[str, Any]) -> Entry:
    return Entry(folder, description).opened()
