"""`adaptkit evaluate`: metrics of a trained model on its data, with and without its modalities."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adaptkit.artifact.load import load_artifact
from adaptkit.artifact.reading import artifact_folder
from adaptkit.errors import UsageError, nearest
from adaptkit.evaluation.material import Material, droppable, gather
from adaptkit.evaluation.measure import Measured
from adaptkit.evaluation.robustness import RATES, Lack, check_rates, robustness_of
from adaptkit.model import AdaptedModel
from adaptkit.model.frozen import use_kept
from adaptkit.plan import Plan

Metrics = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        artifact: the folder that was evaluated.
        metrics: split -> metric -> value; None where undefined.
        ablations: dropped modalities, joined by "+" -> split -> metric -> value.
        warnings: why something is undefined.
        robustness: what is left where some samples lack modalities; empty where nobody asked.
        monitored: the metrics that chose the best epoch.
    """

    artifact: Path
    metrics: dict[str, Metrics]
    ablations: dict[str, dict[str, Metrics]]
    warnings: tuple[str, ...] = ()
    robustness: tuple[Lack, ...] = ()
    monitored: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "artifact": str(self.artifact),
            "metrics": self.metrics,
            "ablations": self.ablations,
            "robustness": [lack.as_dict() for lack in self.robustness],
            "monitored": list(self.monitored),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Subject:
    """A trained model with its data.

    Attributes:
        model: the model.
        material: data and tasks.
        batch_size: samples per forward; None for the recipe's.
        told: warnings of what was measured.
    """

    model: AdaptedModel
    material: Material
    batch_size: int | None
    told: list[str]

    def look(self, split: str, dropped: Collection[str] = (), rate: float | None = None) -> Measured:
        """One pass over a split; of one with a rate, only what is undefined is told."""
        share = 1.0 if rate is None else rate
        found = self.material.measure(self.model, split, batch_size=self.batch_size, drop=dropped, rate=share)
        without = f" without {', '.join(dropped)}" if dropped else ""
        if rate is None or None in found.metrics.values():
            self.told.extend(f"{split}{without}: {warning}" for warning in found.warnings)
        return found


def evaluate(
    source: str | Path,
    *,
    splits: Sequence[str] | None = None,
    drop: Collection[str] = (),
    robustness: Collection[str] = (),
    rates: Sequence[float] = RATES,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    base: Path | None = None,
    data: Any = None,
) -> Evaluation:
    """Evaluate a trained model.

    Args:
        source: a run or artifact folder.
        splits: which ones; by default validation and every test split.
        drop: modalities to leave out together, on every split. By default each one that can be left out is
            left out alone, on `test`.
        robustness: modalities to leave out of a share of the samples instead, each alone and all together, on
            the given splits (by default on `test`); `["all"]` for all that can be left out.
        rates: the shares, between 0 and 1.
        batch_size: samples per forward; by default the recipe's.
        device: by default the accelerator, if there is one.
        base: folder that relative paths of the recipe start from; see `load_artifact`.
        data: taken instead of `[data]`, as by `train`.

    Raises:
        ArtifactError: see `load_artifact`.
        UsageError: an unknown split or modality, a rate that is none, `drop` and `robustness` at once.
        DataError: the data is not what it was.
    """
    folder = artifact_folder(Path(source))
    model = load_artifact(folder, device=device or best_device(), base=base)
    plan = model.plan
    lacking = _check_robustness(plan, robustness, drop, rates)
    wanted_drop = check_drop(plan, drop)
    material = gather(plan, data)
    chosen = _check_splits(splits, material.data.splits, ("validation", *material.tests))
    subject = Subject(model, material, batch_size, use_kept(model))

    results = {split: subject.look(split).metrics for split in chosen}
    on = [split for split in chosen if split == "test"]
    ablations: dict[str, dict[str, Metrics]] = {}
    lacks: tuple[Lack, ...] = ()
    if lacking:
        lacks = robustness_of(subject.look, lacking, rates, list(splits) if splits else on or list(chosen))
    elif wanted_drop:
        ablations = {"+".join(wanted_drop): {split: subject.look(split, wanted_drop).metrics for split in chosen}}
    elif on:
        ablations = {name: {split: subject.look(split, [name]).metrics for split in on} for name in droppable(plan)}
    told = tuple(dict.fromkeys(subject.told))
    return Evaluation(folder, results, ablations, told, lacks, material.monitor.metrics)


def _check_robustness(
    plan: Plan, names: Collection[str], drop: Collection[str], rates: Sequence[float]
) -> tuple[str, ...]:
    if not names:
        return ()
    if drop:
        raise UsageError("--drop and --robustness at once.", where="--robustness", hint="Choose one of them.")
    check_rates(rates)
    if tuple(names) != ("all",) or "all" in plan.recipe.modality:
        return check_drop(plan, names, "--robustness")
    found = droppable(plan)
    if not found:
        raise UsageError("the recipe has no modality that can be left out.", where="--robustness")
    return found


def check_drop(plan: Plan, drop: Collection[str], option: str = "--drop") -> tuple[str, ...]:
    """The modalities to drop, each once.

    Raises:
        UsageError: unknown, read by the backbone itself, a query, or absent anyway.
    """
    reasons = {
        "backbone": "is the backbone's own input and cannot be dropped.",
        "query": "is the query of a task and cannot be dropped.",
    }
    known, can = plan.recipe.modality, droppable(plan)
    for name in drop:
        if name not in known:
            raise UsageError(f"the recipe has no modality {name!r}.", where=option, hint=nearest(name, known))
        if name not in can:
            reason = reasons.get(known[name].route, "is absent in every sample already, by the recipe's data.drop.")
            raise UsageError(f"the modality {name!r} {reason}", where=option, hint=nearest("", can))
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
