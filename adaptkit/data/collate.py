"""From a list of samples to one batch of tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from adaptkit.data.sample import Sample


class Encodes(Protocol):
    """What a batch needs of an encoder."""

    reads_task: bool

    def prepare(self, value: Any, where: str) -> str | np.ndarray | None: ...
    @property
    def collate(self) -> Callable[..., dict[str, Tensor]]: ...


class Targets(Protocol):
    """What a batch needs of a task."""

    def encode(self, values: Sequence[Any], ids: Sequence[str]) -> Any: ...
    def encode_for_training(self, values: Sequence[Any], ids: Sequence[str]) -> Any: ...


class Collator:
    """Samples -> {"ids": [...], "inputs": {modality: {name: tensor}}, "targets": {task: what it encodes}}.

    Args:
        encoders: modality -> encoder.
        tasks: task -> what its raw targets become.
        drop: modalities that count as absent in every sample, whatever `missing` says.
        training: targets are those of a step of training.

    Raises, when called:
        DataError: a value an encoder or a task cannot take; the message names the sample.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encodes],
        tasks: Mapping[str, Targets],
        drop: Collection[str] = (),
        *,
        training: bool = False,
    ) -> None:
        self.encoders = dict(encoders)
        self.tasks = dict(tasks)
        self.drop = frozenset(drop)
        self.training = training

    def __call__(self, samples: Sequence[Sample], task: str | None = None) -> dict[str, Any]:
        """A batch; inputs as they are read for a task: by default one that the samples have targets of."""
        places = [sample.place for sample in samples]
        read_for = task or next(iter(samples[0].targets), None)

        def values(name: str, encoder: Encodes) -> list[Any]:
            return [None if name in self.drop else encoder.prepare(s.inputs.get(name), s.place) for s in samples]

        inputs = {
            name: encoder.collate(values(name, encoder), places, **({"task": read_for} if encoder.reads_task else {}))
            for name, encoder in self.encoders.items()
        }
        targets = {
            name: (task.encode_for_training if self.training else task.encode)(
                [s.targets[name] for s in samples], places
            )
            for name, task in self.tasks.items()
            if all(name in s.targets for s in samples)
        }
        return {"ids": [sample.id for sample in samples], "inputs": inputs, "targets": targets}
