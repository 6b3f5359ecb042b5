"""The batches of one epoch, from any position in it, grouped into optimizer steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from adaptkit.data import Sample
from adaptkit.data.checking import wants_standardising
from adaptkit.data.collate import Collator
from adaptkit.data.loading import Batch, Loader, chunked
from adaptkit.data.moments import Moments
from adaptkit.errors import AdaptkitError
from adaptkit.modalities.encoder import Encoder
from adaptkit.model import AdaptedModel
from adaptkit.model.encoded import of_modality
from adaptkit.model.kept import Kept
from adaptkit.recipe import Train
from adaptkit.tasks.task import Task

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
    loader: Loader,
    every: Sequence[Sequence[int]],
    spec: Train,
    *,
    start: int,
    steps: int,
    key: tuple[int, ...],
) -> Iterator[list[Batch]]:
    """The batches of each optimizer step of an epoch.

    Args:
        loader: of the training split.
        every: indices of the samples of each batch of the epoch.
        spec: the recipe's [train] table.
        start: batches of the epoch that are used up already.
        steps: optimizer steps at most.
        key: seed and epoch, for what is drawn at random while samples are read.
    """
    chunks = every[start : start + steps * spec.accumulation]
    group: list[Batch] = []
    for number, batch in enumerate(loader(chunks, start=start, key=key), 1):
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
        collate = Collator({self.name: self.encoder}, {}, kept=self.kept)
        loader = Loader(self.samples, collate, self.spec.workers)
        for batch in loader(chunked(range(len(self.samples)), self.spec.batch_size)):
            yield of_modality(batch["inputs"], self.name, dropped=False)
