"""Running a model over a split: outputs, loss and metrics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adaptkit.data import Sample
from adaptkit.evaluation.monitor import metric_name
from adaptkit.model.inference import infer
from adaptkit.tasks.task import Task

# B samples of a batch, N samples of the split, O outputs of a task


@dataclass(frozen=True, slots=True)
class Measured:
    """What a split gave.

    Attributes:
        metrics: "loss" and every metric of every task; None where undefined.
        warnings: why something is undefined.
        ids: (N,) names of the samples.
        logits: task -> (N, O).
        targets: task -> targets as the task encodes them.
    """

    metrics: dict[str, float | None]
    warnings: tuple[str, ...]
    ids: list[str]
    logits: dict[str, np.ndarray]
    targets: dict[str, np.ndarray]


def measure(
    model: nn.Module,
    tasks: Mapping[str, Task],
    samples: Sequence[Sample],
    collate: Callable[[Sequence[Sample]], dict[str, Any]],
    *,
    batch_size: int,
    precision: str = "fp32",
    drop: Collection[str] = (),
    rate: float = 1.0,
    between: Callable[[], None] | None = None,
) -> Measured:
    """Evaluate a split in evaluation mode; the model's mode is restored.

    Args:
        model: `model(inputs, drop=...)` gives task -> (B, O) logits.
        tasks: name -> task.
        samples: the split, in order.
        collate: samples -> batch.
        batch_size: samples per forward.
        precision: as in training ("fp32", "bf16", "fp16").
        drop: modalities to leave out.
        rate: share of the samples that they are left out of, drawn by the samples' ids.
        between: called before every batch; what it raises ends the evaluation.
    """
    ids: list[str] = []
    outputs: dict[str, list[Tensor]] = {name: [] for name in tasks}
    targets: dict[str, list[Tensor]] = {name: [] for name in tasks}
    loss = 0.0
    for at in range(0, len(samples), batch_size):
        if between is not None:
            between()
        batch = collate([samples[index] for index in range(at, min(at + batch_size, len(samples)))])
        inputs = batch["inputs"] if rate == 1 else without(batch["inputs"], batch["ids"], drop, rate)
        logits = infer(model, inputs, precision, drop if rate == 1 else ())
        ids += batch["ids"]
        for name, task in tasks.items():
            target = batch["targets"][name]
            on_device = logits[name]
            loss += task.weight * float(task.loss(on_device, target.to(on_device.device))) * len(batch["ids"])
            outputs[name].append(on_device.cpu())
            targets[name].append(target)
    joined = {name: torch.cat(parts).numpy() for name, parts in outputs.items()}
    wanted = {name: torch.cat(parts).numpy() for name, parts in targets.items()}
    metrics, told = _metrics(tasks, joined, wanted)
    return Measured({"loss": loss / max(1, len(ids)), **metrics}, told, ids, joined, wanted)


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
    tasks: Mapping[str, Task], logits: dict[str, np.ndarray], targets: dict[str, np.ndarray]
) -> tuple[dict[str, float | None], tuple[str, ...]]:
    found: dict[str, float | None] = {}
    told: list[str] = []
    for name, task in tasks.items():
        scores = task.scores(torch.from_numpy(logits[name]))
        values, notes = task.measure(scores, targets[name])
        for metric, value in values.items():
            found[metric_name(name, metric, several=len(tasks) > 1)] = value
        told += [f"{name}: {note}" for note in notes]
    return found, tuple(told)
