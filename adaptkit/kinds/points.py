"""Everything that a recipe can name, by the table or key that names it."""

from __future__ import annotations

from typing import Any

from adaptkit.kinds.registry import Kinds

ADAPTERS: Kinds[Any] = Kinds("adapter", "adapters")
MODALITIES: Kinds[Any] = Kinds("modality", "modalities", noun="modality kind")
ENCODERS: Kinds[Any] = Kinds("encoder", "modalities")
PROJECTIONS: Kinds[Any] = Kinds("projection", "modalities")
FUSIONS: Kinds[Any] = Kinds("fusion", "fusions")
FORMATS: Kinds[Any] = Kinds("format", "formats", "benchmarks", noun="data format")
BENCHMARKS: Kinds[Any] = Kinds("benchmark", "benchmarks", keyed=False)
TASKS: Kinds[Any] = Kinds("task", "tasks", noun="task kind")
HEADS: Kinds[Any] = Kinds("head", "tasks")
LOSSES: Kinds[Any] = Kinds("loss", "tasks")
METRICS: Kinds[Any] = Kinds("metric", "tasks", "benchmarks", keyed=False)
OPTIMIZERS: Kinds[Any] = Kinds("optimizer", "training", given=("lr", "weight_decay"))
SCHEDULES: Kinds[Any] = Kinds("schedule", "training", given=("warmup", "total"))
SAMPLERS: Kinds[Any] = Kinds("sampler", "training", given=("targets", "lengths"))

POINTS = (
    ADAPTERS,
    MODALITIES,
    ENCODERS,
    PROJECTIONS,
    FUSIONS,
    FORMATS,
    BENCHMARKS,
    TASKS,
    HEADS,
    LOSSES,
    METRICS,
    OPTIMIZERS,
    SCHEDULES,
    SAMPLERS,
)
