"""The batches of one epoch, from any position in it, grouped into optimizer steps."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader

from adaptkit.data import Sample
from adaptkit.model import AdaptedModel
from adaptkit.recipe import Train

Batch = dict[str, Any]
Collate = Callable[[Sequence[Sample]], Batch]


def total_steps(spec: Train, samples: int) -> int:
    """Optimizer steps of a training that does not stop early; the last one of an epoch may have fewer batches."""
    batches = -(-samples // spec.batch_size)
    steps = spec.epochs * -(-batches // spec.accumulation)
    return steps if spec.max_steps is None else min(steps, spec.max_steps)


def batch_groups(
    samples: Sequence[Sample], order: Sequence[int], collate: Collate, spec: Train, *, start: int, steps: int
) -> Iterator[list[Batch]]:
    """The batches of each optimizer step of an epoch.

    Args:
        samples: the training split.
        order: indices of samples.
        collate: samples -> batch.
        spec: the recipe's [train] table.
        start: batches of the epoch that are used up already.
        steps: optimizer steps at most.
    """
    chunks = chunked(order, spec.batch_size)[start : start + steps * spec.accumulation]
    group: list[Batch] = []
    for number, batch in enumerate(load_batches(samples, chunks, collate, spec.workers), 1):
        group.append(batch)
        if len(group) == spec.accumulation or number == len(chunks):
            yield group
            group = []


def fit_encoders(model: AdaptedModel, samples: Sequence[Sample], collate: Collate, spec: Train) -> None:
    """Give encoders with `missing = "mean"` the mean of the training split."""
    for name, encoder in model.named_encoders():
        if encoder.needs_fit and name not in model.plan.recipe.data.drop:
            batches = load_batches(samples, chunked(range(len(samples)), spec.batch_size), collate, spec.workers)
            encoder.fit(batch["inputs"][name] for batch in batches)


def chunked(order: Sequence[int], size: int) -> list[Sequence[int]]:
    return [order[at : at + size] for at in range(0, len(order), size)]


def load_batches(
    samples: Sequence[Sample], chunks: Sequence[Sequence[int]], collate: Collate, workers: int = 0
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
