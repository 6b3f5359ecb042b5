"""The batches of one epoch, from any position in it, grouped into optimizer steps."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from adaptkit.data import Sample, epoch_order

Batch = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Epochs:
    """Every batch of a training as a function of (seed, epoch, position), so that a resumed run repeats them.

    Attributes:
        samples: the training split.
        collate: samples -> batch.
        seed: of the order.
        batch_size: samples per forward.
        accumulation: batches per optimizer step; the last step of an epoch may have fewer.
        workers: processes that prepare batches.
    """

    samples: Sequence[Sample]
    collate: Callable[[Sequence[Sample]], Batch]
    seed: int
    batch_size: int
    accumulation: int = 1
    workers: int = 0

    @property
    def batches_per_epoch(self) -> int:
        return -(-len(self.samples) // self.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.batches_per_epoch // self.accumulation)

    def groups(self, epoch: int, start: int, limit: int) -> Iterator[list[Batch]]:
        """The batches of each optimizer step.

        Args:
            epoch: index of the epoch.
            start: batches of it that are used up already.
            limit: steps at most.
        """
        order = epoch_order(len(self.samples), self.seed, epoch).tolist()
        chunks = [order[at : at + self.batch_size] for at in range(0, len(order), self.batch_size)]
        chunks = chunks[start : start + limit * self.accumulation]
        group: list[Batch] = []
        for number, batch in enumerate(load_batches(self.samples, chunks, self.collate, self.workers), 1):
            group.append(batch)
            if len(group) == self.accumulation or number == len(chunks):
                yield group
                group = []


def load_batches(
    samples: Sequence[Sample],
    chunks: Sequence[Sequence[int]],
    collate: Callable[[Sequence[Sample]], Batch],
    workers: int = 0,
) -> Iterator[Batch]:
    """One batch per chunk of indices, in order. Draws nothing from torch's global generator."""
    loader = DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=[list(chunk) for chunk in chunks],
        collate_fn=collate,
        num_workers=workers,
        worker_init_fn=_ignore_interrupt,
        generator=torch.Generator().manual_seed(0),
    )
    return iter(loader)


def _ignore_interrupt(worker: int) -> None:
    # Ctrl-C reaches the whole process group; the main process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
