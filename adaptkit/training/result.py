"""What a training returns, and the mean and deviation over its seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Metrics = dict[str, float | None]
Splits = dict[str, Metrics]


@dataclass(frozen=True, slots=True)
class SeedResult:
    """What the training of one seed gave, measured with its best state.

    Attributes:
        seed: the seed.
        metrics: split -> metric -> value.
        ablations: dropped modality -> split -> metric -> value.
        score: monitor on the validation split, more is better; None if undefined.
        best_epoch: the epoch of the best state, from 1.
        epochs: epochs trained.
        steps: optimizer steps made.
        warnings: why a metric is undefined.
    """

    seed: int
    metrics: Splits
    ablations: dict[str, Splits]
    score: float | None
    best_epoch: int
    epochs: int
    steps: int
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run gave.

    Attributes:
        run: the run folder.
        artifact: the artifact folder, of the best seed.
        metrics: split -> metric -> value; over several seeds, the mean.
        ablations: dropped modality -> split -> metric -> value, likewise.
        parameters: counts, as in plan.json.
        seconds: duration of this call.
        monitor: metric that chose the best epoch and the best seed.
        best_seed: the seed of the artifact.
        std: split -> metric -> sample standard deviation over the seeds; empty for one seed.
        ablations_std: the same for the ablations.
        per_seed: seed -> its own result.
        warnings: why a metric is undefined.
    """

    run: Path
    artifact: Path
    metrics: Splits
    ablations: dict[str, Splits]
    parameters: dict[str, Any]
    seconds: float
    monitor: str
    best_seed: int
    std: Splits
    ablations_std: dict[str, Splits]
    per_seed: dict[str, dict[str, Any]]
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Content of summary.json."""
        value = self.metrics["validation"].get(self.monitor)
        return {
            **asdict(self),
            "run": str(self.run),
            "artifact": str(self.artifact),
            "monitor": {"metric": self.monitor, "value": value},
        }


def best_of(seeds: Sequence[SeedResult]) -> SeedResult:
    """The seed with the best score; the first one where no score is defined."""
    defined = [result for result in seeds if result.score is not None]
    return max(defined, key=lambda result: result.score or 0.0) if defined else seeds[0]


def mean(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Number by number through equal nests of dicts; None wherever one of them is None."""
    return _combine(tables, statistics.fmean)


def std(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sample standard deviation (n - 1), like `mean`; empty for a single table."""
    return _combine(tables, statistics.stdev) if len(tables) > 1 else {}


def _combine(tables: Sequence[Mapping[str, Any]], rule: Any) -> dict[str, Any]:
    combined: dict[str, Any] = {}
    for key, first in tables[0].items():
        values = [table[key] for table in tables]
        if isinstance(first, Mapping):
            combined[key] = _combine(values, rule)
        else:
            combined[key] = None if any(value is None for value in values) else float(rule(values))
    return combined


def read_result(path: Path) -> SeedResult | None:
    """The result of a seed that was finished before; None if it has to be (re)made."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return SeedResult(**{**content, "warnings": tuple(content["warnings"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
