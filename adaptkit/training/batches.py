"""The batches of one epoch, from any position in it, grouped into optimizer steps."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from adaptkit.data import Sample
from adaptkit.data.checking import wants_standardising
from adaptkit.data.collate import Collator
from adaptkit.data.moments import Moments
from adaptkit.errors import AdaptkitError, RunError
from adaptkit.modalities.encoder import Encoder
from adaptkit.model import AdaptedModel
from adaptkit.model.encoded import of_modality
from adaptkit.model.kept import Kept
from adaptkit.recipe import Train
from adaptkit.tasks.task import Task
from adaptkit.training.rng import seeded

Batch = dict[str, Any]
Collate = Callable[[Sequence[Sample]], Batch]

LOOKED_AT = 64  # samples that tell whether vectors want standardising


def total_steps(spec: Train, batches: int) -> int:
    """Optimizer steps of a training that does not stop early; the last one of an epoch may have fewer batches.

    Args:
        spec: the recipe's [train] table.
        batches: of an epoch.
    """
    steps = spec.epochs * -(-batches // spec.accumulation)
    return steps if spec.max_steps is None else min(steps, spec.max_steps)


def batch_groups(
    samples: Sequence[Sample],
    every: Sequence[Sequence[int]],
    collate: Collate,
    spec: Train,
    *,
    start: int,
    steps: int,
    key: tuple[int, ...],
) -> Iterator[list[Batch]]:
    """The batches of each optimizer step of an epoch.

    Args:
        samples: the training split.
        every: indices of the samples of each batch of the epoch.
        collate: samples -> batch.
        spec: the recipe's [train] table.
        start: batches of the epoch that are used up already.
        steps: optimizer steps at most.
        key: seed and epoch, for what is drawn at random while samples are read.
    """
    chunks = every[start : start + steps * spec.accumulation]
    group: list[Batch] = []
    batches = load_batches(samples, chunks, collate, spec.workers, start=start, key=key)
    for number, batch in enumerate(batches, 1):
        group.append(batch)
        if len(group) == spec.accumulation or number == len(chunks):
            yield group
            group = []


def loss_shares(tasks: Mapping[str, Task], group: Sequence[Batch]) -> list[dict[str, float]]:
    """For every batch of a step, task -> what its loss counts: its weight, by the batch's part of what is counted."""
    amounts = [{name: tasks[name].amount(target) for name, target in batch["targets"].items()} for batch in group]
    total = {name: max(sum(each.get(name, 0) for each in amounts), 1) for name in tasks}
    return [{name: tasks[name].weight * part / total[name] for name, part in each.items()} for each in amounts]


def fit_encoders(model: AdaptedModel, samples: Sequence[Sample], spec: Train) -> None:
    """Give encoders the statistics of the training split that they ask for; neutral ones of a dropped modality."""
    for name, encoder in model.named_encoders():
        if encoder.needs_fit and name in model.plan.recipe.data.drop:
            neutralise(encoder)
        elif encoder.needs_fit:
            encoder.fit(Pass(name, encoder, samples, spec, [k for n, k in model.kept.items() if n == name]))


def odd_vectors(model: AdaptedModel, samples: Sequence[Sample]) -> Iterator[str]:
    """Which modalities want `standardise`, by a few samples spread over the training split; errors are told later."""
    chosen = range(0, len(samples), max(1, len(samples) // LOOKED_AT))
    for name, encoder in model.named_encoders():
        if encoder.could_standardise and name not in model.plan.recipe.data.drop:
            vectors: list[np.ndarray] = []
            for sample in (samples[index] for index in chosen):
                if (value := sample.inputs.get(name)) is not None:
                    with suppress(AdaptkitError):
                        vectors.append(encoder.prepare(value, sample.place))  # (T, W)
            if len(vectors) > 1:
                moments = Moments(vectors[0].shape[1])
                moments.add(np.concatenate(vectors))
                yield from wants_standardising(name, moments)


def neutralise(encoder: Encoder) -> None:
    """Statistics that change nothing, for a modality that every sample lacks: NaN cannot be saved."""
    for buffer in encoder.buffers(recurse=False):
        if buffer.is_floating_point():
            buffer.nan_to_num_(0.0)


@dataclass(frozen=True, slots=True)
class Pass:
    """The batches of one modality, as often as they are gone through; nothing of the others is read."""

    name: str
    encoder: Encoder
    samples: Sequence[Sample]
    spec: Train
    kept: Sequence[Kept] = ()

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        chunks = chunked(range(len(self.samples)), self.spec.batch_size)
        collate = Collator({self.name: self.encoder}, {}, kept=self.kept)
        for batch in load_batches(self.samples, chunks, collate, self.spec.workers):
            yield of_modality(batch["inputs"], self.name, dropped=False)


def chunked(order: Sequence[int], size: int) -> list[Sequence[int]]:
    return [order[at : at + size] for at in range(0, len(order), size)]


def load_batches(
    samples: Sequence[Sample],
    chunks: Sequence[Sequence[int]],
    collate: Collate,
    workers: int = 0,
    *,
    start: int = 0,
    key: tuple[int, ...] = (),
) -> Iterator[Batch]:
    """One batch per chunk of indices, in order. Draws nothing from the global generators.

    A batch depends on its place alone, never on the number of workers or on where a run was continued: what is drawn
    at random while its samples are read comes from the key and its number, counted from `start`.
    """
    loader: Any = DataLoader(
        Batches(samples, chunks, collate, start, key),
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        worker_init_fn=_ignore_interrupt,
        generator=torch.Generator().manual_seed(0),
    )
    return _raising(loader)


def _raising(loader: DataLoader[Batch]) -> Iterator[Batch]:
    """The batches. What a worker could not read is raised here, as it would be without workers.

    Raises:
        DataError: a sample cannot be read.
        RunError: a worker died.
    """
    try:
        for batch in loader:
            if isinstance(batch, AdaptkitError):
                raise batch
            yield batch
    except RuntimeError as error:
        # torch has no class of its own for this; its message goes over the name of the signal and back.
        if "DataLoader worker" not in str(error):
            raise
        raise RunError(
            "a process that reads samples was ended by the system, most likely because the memory was full.",
            where="train.workers",
            hint="Lower train.workers, or set it to 0 and read in the main process.",
        ) from None


class Batches(Dataset["Batch | AdaptkitError"]):
    """The batches themselves as a dataset, so that the loader only has to distribute them.

    An error that a user can mend is a value, too: raised in a worker it would come back as a text with a traceback.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        chunks: Sequence[Sequence[int]],
        collate: Collate,
        start: int,
        key: tuple[int, ...],
    ) -> None:
        self.samples, self.chunks, self.collate = samples, chunks, collate
        self.start, self.key = start, key

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, number: int) -> Batch | AdaptkitError:
        with seeded(*self.key, self.start + number):
            try:
                return self.collate([self.samples[index] for index in self.chunks[number]])
            except AdaptkitError as error:
                return error


def _as_it_is(batch: Any) -> Any:
    return batch


def _ignore_interrupt(worker: int) -> None:
    # Ctrl-C reaches the whole process group; the main process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
