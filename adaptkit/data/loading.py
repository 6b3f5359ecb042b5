"""Batches in the order that is asked for, prepared by processes that live as long as their loader."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from adaptkit.data.sample import Sample
from adaptkit.errors import AdaptkitError, RunError

Batch = dict[str, Any]
Collate = Callable[[Sequence[Sample]], Batch]
Place = tuple[tuple[int, ...], Sequence[int]]  # what seeds a batch, and the indices of its samples


def chunked(order: Sequence[int], size: int) -> list[Sequence[int]]:
    return [order[at : at + size] for at in range(0, len(order), size)]


class Loader:
    """Reads batches of samples, epoch after epoch, by the same processes. Draws nothing from the global generators.

    Args:
        samples: of which chunks are asked for.
        collate: samples -> batch.
        workers: processes; 0 is the main one. They begin with the first batch, and end with the loader.
    """

    def __init__(self, samples: Sequence[Sample], collate: Collate, workers: int = 0) -> None:
        self._places: list[Place] = []
        self._loader: Any = DataLoader(
            Batches(samples, collate),
            batch_size=None,
            sampler=self._places,
            collate_fn=_as_it_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_ignore_interrupt,
            generator=torch.Generator().manual_seed(0),
        )

    def __call__(
        self, chunks: Sequence[Sequence[int]], *, start: int = 0, key: tuple[int, ...] = ()
    ) -> Iterator[Batch]:
        """One batch per chunk of indices, in order.

        A batch depends on its place alone, never on the number of workers or on where a run was continued: what is
        drawn at random while its samples are read comes from the key and its number, counted from `start`. What a
        worker could not read is raised here, as it would be without workers.

        Raises, while iterating:
            DataError: a sample cannot be read.
            RunError: a worker died.
        """
        self._places[:] = [((*key, start + number), chunk) for number, chunk in enumerate(chunks)]
        try:
            for batch in self._loader if self._places else ():
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

    def __init__(self, samples: Sequence[Sample], collate: Collate) -> None:
        self.samples, self.collate = samples, collate

    def __getitem__(self, place: Place) -> Batch | AdaptkitError:
        key, chunk = place
        with seeded(*key):
            try:
                return self.collate([self.samples[index] for index in chunk])
            except AdaptkitError as error:
                return error


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Every generator of the CPU seeded by the key; afterwards each is where it was. Also works in forked processes."""
    python, legacy, own = random.getstate(), np.random.get_state(), torch.get_rng_state()
    first, second, third = np.random.SeedSequence([number % 2**64 for number in key]).generate_state(3)
    random.seed(int(first))
    np.random.seed(second)
    torch.default_generator.manual_seed(int(third))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        torch.set_rng_state(own)


def _as_it_is(batch: Any) -> Any:
    return batch


def _ignore_interrupt(worker: int) -> None:
    # Ctrl-C reaches the whole process group; the main process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
