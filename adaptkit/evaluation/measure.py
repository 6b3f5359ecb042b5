"""Running a model over a split: outputs, loss and metrics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adaptkit.data import Sample
from adaptkit.data.loading import Loader, chunked
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
        sources: the same of every source of the split, where there are several.
    """

    metrics: dict[str, float | None]
    warnings: tuple[str, ...]
    ids: list[str]
    outcomes: dict[str, Outcome]
    sources: tuple[Measured, ...] = ()

    @property
    def parts(self) -> tuple[Measured, ...]:
        """What every source of the split gave; itself where there is one."""
        return self.sources or (self,)

    @classmethod
    def of(cls, parts: Sequence[Measured]) -> Measured:
        """A split of several sources. Its loss is the mean over all samples, each in the tasks it has."""
        ids = [name for part in parts for name in part.ids]
        loss = sum((part.metrics["loss"] or 0.0) * len(part.ids) for part in parts) / max(1, len(ids))
        metrics = {name: value for part in parts for name, value in part.metrics.items()}
        told = tuple(text for part in parts for text in part.warnings)
        outcomes = {name: outcome for part in parts for name, outcome in part.outcomes.items()}
        return cls({**metrics, "loss": loss}, told, ids, outcomes, tuple(parts))


def measure(
    model: nn.Module,
    tasks: Mapping[str, Task],
    samples: Sequence[Sample],
    collate: Callable[[Sequence[Sample]], dict[str, Any]],
    *,
    batch_size: int,
    workers: int = 0,
    split: str = "",
    several: bool | None = None,
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
        workers: processes that prepare batches; 0: in the main process.
        split: its name; texts are generated for a part of a validation split only.
        several: metrics have the names of their tasks before them; by default where there are several tasks. Then the
            model gives the logits of these tasks alone.
        precision: as in training ("fp32", "bf16", "fp16").
        drop: modalities to leave out.
        rate: share of the samples that they are left out of, drawn by the samples' ids.
        between: called before every batch; what it raises ends the evaluation.
    """
    ids: list[str] = []
    outcomes = {name: task.outcome() for name, task in tasks.items()}
    losses = {name: Mean() for name in tasks}
    chunks = chunked(range(len(samples)), batch_size)
    speakers = {name: task.speaker for name, task in tasks.items() if task.speaker is not None}
    answering = {
        name: spread(-(-speaker.samples(split, len(samples)) // batch_size), len(chunks))
        for name, speaker in speakers.items()
    }
    for number, batch in enumerate(Loader(samples, collate, workers)(chunks)):
        if between is not None:
            between()
        inputs = batch["inputs"] if rate == 1 else without(batch["inputs"], batch["ids"], drop, rate)
        dropped = drop if rate == 1 else ()
        read = {name: batch["targets"][name] for name in speakers}
        outputs = infer(model, inputs, precision, dropped, read, only=tasks if several else ())
        ids += batch["ids"]
        for name, task in tasks.items():
            target = on_device(batch["targets"][name], outputs[name].device)
            losses[name].add(float(task.loss(outputs[name], target)), task.amount(target))
            outcomes[name].add(outputs[name], target)
        for name, speaker in speakers.items():
            if number in answering[name]:
                answers = answers_of(model, speaker, inputs, precision, dropped, number=number)
                outcomes[name].answer(answers, batch["targets"][name])
    metrics, told = _metrics(outcomes, len(tasks) > 1 if several is None else several)
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


def _metrics(outcomes: Mapping[str, Outcome], several: bool) -> tuple[dict[str, float | None], tuple[str, ...]]:
    found: dict[str, float | None] = {}
    told: list[str] = []
    for name, outcome in outcomes.items():
        values, notes = outcome.measure()
        for metric, value in values.items():
            found[metric_name(name, metric, several=several)] = value
        told += [f"{name}: {note}" for note in notes]
    return found, tuple(told)
