"""From a list of samples to one batch of tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from adaptkit.data.sample import Sample


class Encodes(Protocol):
    """What a batch needs of an encoder."""

    reads_task: bool

    def prepare(self, value: Any, where: str) -> str | np.ndarray | None: ...
    @property
    def collate(self) -> Callable[..., dict[str, Tensor]]: ...


class Keeps(Protocol):
    """What a batch needs of what is kept of a frozen model."""

    @property
    def name(self) -> str: ...
    @property
    def modalities(self) -> Sequence[str]: ...
    @property
    def spared(self) -> Sequence[str]: ...
    def find(self, values: Sequence[Sequence[Any]]) -> dict[str, Tensor] | None: ...


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
        kept: what frozen models gave before; where a batch has it, what they read is not read.

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
        kept: Collection[Keeps] = (),
    ) -> None:
        self.encoders = dict(encoders)
        self.tasks = dict(tasks)
        self.drop = frozenset(drop)
        self.training = training
        self.kept = tuple(kept)

    def __call__(self, samples: Sequence[Sample], task: str | None = None) -> dict[str, Any]:
        """A batch; inputs as they are read for a task: by default one that the samples have targets of."""
        places = [sample.place for sample in samples]
        read_for = task or next(iter(samples[0].targets), None)

        raw = {name: [None if name in self.drop else s.inputs.get(name) for s in samples] for name in self.encoders}
        found = [(each, each.find([*zip(*(raw[n] for n in each.modalities), strict=True)])) for each in self.kept]
        kept = {each.name: tensors for each, tensors in found if tensors is not None}
        spared = {name for each, _ in found if each.name in kept for name in each.spared}

        def prepared(encoder: Encodes, value: Any, place: str, *, dropped: bool, read: bool = True) -> Any:
            if dropped or not (read or value is None):
                return value
            return encoder.prepare(value, place)  # an absent one is an error where it must be there

        def batch_of(name: str, encoder: Encodes) -> dict[str, Tensor]:
            how = {"dropped": name in self.drop, "read": name not in spared}
            values = [prepared(encoder, *each, **how) for each in zip(raw[name], places, strict=True)]
            if name in spared:
                return {"present": torch.tensor([value is not None for value in values])}
            return encoder.collate(values, places, **({"task": read_for} if encoder.reads_task else {}))

        inputs = {name: batch_of(name, encoder) for name, encoder in self.encoders.items()} | kept
        targets = {
            name: (task.encode_for_training if self.training else task.encode)(
                [s.targets[name] for s in samples], places
            )
            for name, task in self.tasks.items()
            if all(name in s.targets for s in samples)
        }
        return {"ids": [sample.id for sample in samples], "inputs": inputs, "targets": targets}
