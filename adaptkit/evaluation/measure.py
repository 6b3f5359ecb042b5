"""Running a model over a split: outputs, loss and metrics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adaptkit.data import Sample
from adaptkit.evaluation.monitor import metric_name
from adaptkit.model.inference import answers_of, infer, on_device
from adaptkit.tasks.outcome import Outcome
from adaptkit.tasks.task import Task

# B samples of a batch, N samples of the split


@dataclass(frozen=True, slots=True)
class Measured:
    """What a split gave.

    Attributes:
        metrics: "loss" and every metric of every task; None where undefined.
        warnings: why something is undefined.
        ids: (N,) names of the samples.
        outcomes: task -> what it kept of the split.
    """

    metrics: dict[str, float | None]
    warnings: tuple[str, ...]
    ids: list[str]
    outcomes: dict[str, Outcome]


def measure(
    model: nn.Module,
    tasks: Mapping[str, Task],
    samples: Sequence[Sample],
    collate: Callable[[Sequence[Sample]], dict[str, Any]],
    *,
    batch_size: int,
    split: str = "",
    precision: str = "fp32",
    drop: Collection[str] = (),
    rate: float = 1.0,
    between: Callable[[], None] | None = None,
) -> Measured:
    """Evaluate a split in evaluation mode; the model's mode is restored.

    Args:
        model: `model(inputs, drop=...)` gives task -> (B, O) logits; an adapted model, where tasks generate.
        tasks: name -> task.
        samples: the split, in order.
        collate: samples -> batch.
        batch_size: samples per forward.
        split: its name; texts are generated for a part of a validation split only.
        precision: as in training ("fp32", "bf16", "fp16").
        drop: modalities to leave out.
        rate: share of the samples that they are left out of, drawn by the samples' ids.
        between: called before every batch; what it raises ends the evaluation.
    """
    ids: list[str] = []
    outcomes = {name: task.outcome() for name, task in tasks.items()}
    losses = {name: Mean() for name in tasks}
    batches = -(-len(samples) // batch_size)
    speakers = {name: task.speaker for name, task in tasks.items() if task.speaker is not None}
    answering = {
        name: spread(-(-speaker.samples(split, len(samples)) // batch_size), batches)
        for name, speaker in speakers.items()
    }
    for number, at in enumerate(range(0, len(samples), batch_size)):
        if between is not None:
            between()
        batch = collate([samples[index] for index in range(at, min(at + batch_size, len(samples)))])
        inputs = batch["inputs"] if rate == 1 else without(batch["inputs"], batch["ids"], drop, rate)
        dropped = drop if rate == 1 else ()
        read = {name: batch["targets"][name] for name in speakers}
        outputs = infer(model, inputs, precision, dropped, read)
        ids += batch["ids"]
        for name, task in tasks.items():
            target = on_device(batch["targets"][name], outputs[name].device)
            losses[name].add(float(task.loss(outputs[name], target)), task.amount(target))
            outcomes[name].add(outputs[name], target)
        for name, speaker in speakers.items():
            if number in answering[name]:
                answers = answers_of(model, speaker, inputs, precision, dropped, number=number)
                outcomes[name].answer(answers, batch["targets"][name])
    metrics, told = _metrics(tasks, outcomes)
    loss = sum(task.weight * losses[name].value for name, task in tasks.items())
    return Measured({"loss": loss, **metrics}, told, ids, outcomes)


class Mean:
    """Of losses, each as often as its batch counts; 0 of nothing."""

    def __init__(self) -> None:
        self._sum = self._amount = 0.0

    def add(self, value: float, amount: float) -> None:
        self._sum, self._amount = self._sum + value * amount, self._amount + amount

    @property
    def value(self) -> float:
        return self._sum / max(self._amount, 1)


def spread(count: int, length: int) -> set[int]:
    """So many places, at equal distances in a row."""
    return {(2 * place + 1) * length // (2 * count) for place in range(min(count, length))}


def without(inputs: Mapping[str, Any], ids: Sequence[str], drop: Collection[str], rate: float) -> dict[str, Any]:
    """A batch in which some samples lack the dropped modalities: for every modality the same ones."""
    kept = torch.tensor([not lacks(name, rate) for name in ids])  # (B,)
    left = {name: {**inputs[name], "present": inputs[name]["present"] & kept} for name in drop}
    return {**inputs, **left}


def lacks(name: str, rate: float) -> bool:
    """Whether a sample is among the share that lacks a modality; by its id, so that it is at every higher rate too."""
    drawn = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
    return drawn < rate * 2**64


def _metrics(
    tasks: Mapping[str, Task], outcomes: Mapping[str, Outcome]
) -> tuple[dict[str, float | None], tuple[str, ...]]:
    found: dict[str, float | None] = {}
    told: list[str] = []
    for name, outcome in outcomes.items():
        values, notes = outcome.measure()
        for metric, value in values.items():
            found[metric_name(name, metric, several=len(tasks) > 1)] = value
        told += [f"{name}: {note}" for note in notes]
    return found, tuple(told)
