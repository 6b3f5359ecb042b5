"""`adaptkit evaluate`: metrics of a trained model on its data, with and without its modalities."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adaptkit.artifact.load import artifact_folder, load_artifact
from adaptkit.errors import UsageError
from adaptkit.evaluation.material import droppable, gather
from adaptkit.evaluation.measure import measure
from adaptkit.plan import Plan
from adaptkit.registry import nearest

Metrics = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        artifact: the folder that was evaluated.
        metrics: split -> metric -> value; None where undefined.
        ablations: dropped modalities, joined by "+" -> split -> metric -> value.
        warnings: why something is undefined.
    """

    artifact: Path
    metrics: dict[str, Metrics]
    ablations: dict[str, dict[str, Metrics]]
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "artifact": str(self.artifact),
            "metrics": self.metrics,
            "ablations": self.ablations,
            "warnings": list(self.warnings),
        }


def evaluate(
    source: str | Path,
    *,
    splits: Sequence[str] | None = None,
    drop: Collection[str] = (),
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    base: Path | None = None,
) -> Evaluation:
    """Evaluate a trained model.

    Args:
        source: a run or artifact folder.
        splits: which ones; by default validation and every test split.
        drop: modalities to leave out together, on every split. By default each one that can be left out is
            left out alone, on `test`.
        batch_size: samples per forward; by default the recipe's.
        device: by default the accelerator, if there is one.
        base: folder that relative paths of the recipe start from; see `load_artifact`.

    Raises:
        ArtifactError: see `load_artifact`.
        UsageError: an unknown split or modality.
        DataError: the data is not what it was.
    """
    folder = artifact_folder(Path(source))
    model = load_artifact(folder, device=device or best_device(), base=base)
    plan = model.plan
    wanted_drop = check_drop(plan, drop)
    material = gather(plan)
    chosen = _check_splits(splits, material.data.splits, ("validation", *material.tests))
    size = batch_size or plan.recipe.train.eval_batch_size or plan.recipe.train.batch_size
    told: list[str] = []

    def metrics(split: str, dropped: Collection[str] = ()) -> Metrics:
        found = measure(
            model,
            material.tasks,
            material.data.splits[split],
            material.collate(model),
            batch_size=size,
            precision=plan.recipe.train.precision,
            drop=dropped,
        )
        told.extend(f"{split}: {warning}" for warning in found.warnings)
        return found.metrics

    results = {split: metrics(split) for split in chosen}
    if wanted_drop:
        ablations = {"+".join(wanted_drop): {split: metrics(split, wanted_drop) for split in chosen}}
    else:
        on = [split for split in chosen if split == "test"]
        ablations = {name: {split: metrics(split, [name]) for split in on} for name in droppable(plan) if on}
    return Evaluation(folder, results, ablations, tuple(dict.fromkeys(told)))


def check_drop(plan: Plan, drop: Collection[str]) -> tuple[str, ...]:
    """The modalities to drop, each once.

    Raises:
        UsageError: unknown, or read by the backbone itself.
    """
    known, can = plan.recipe.modality, droppable(plan)
    for name in drop:
        if name not in known:
            raise UsageError(f"the recipe has no modality {name!r}.", where="--drop", hint=nearest(name, known))
        if name not in can:
            raise UsageError(
                f"the modality {name!r} is the backbone's own input and cannot be dropped.",
                where="--drop",
                hint=nearest("", can),
            )
    return tuple(dict.fromkeys(drop))


def best_device() -> torch.device:
    """The accelerator torch was built for, if one is there; else the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found if found is not None else torch.device("cpu")


def _check_splits(wanted: Sequence[str] | None, known: Collection[str], default: Sequence[str]) -> tuple[str, ...]:
    if not wanted:
        return tuple(default)
    for name in wanted:
        if name not in known:
            raise UsageError(f"the data has no split {name!r}.", where="--split", hint=nearest(name, known))
    return tuple(dict.fromkeys(wanted))
