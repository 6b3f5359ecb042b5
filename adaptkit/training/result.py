"""What a training returns, and the mean and deviation over its seeds."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adaptkit.atomic import write_json
from adaptkit.data.paths import digest_of
from adaptkit.errors import DataError

RESULT = "result.json"
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
        seconds_per_sample: in this call's steps, the median; None where no epoch of it had two.
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
    seconds_per_sample: float | None
    monitor: str
    best_seed: int
    std: Splits
    ablations_std: dict[str, Splits]
    per_seed: dict[str, dict[str, Any]]
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Content of summary.json."""
        several = self.per_seed[str(self.best_seed)]["score"]  # no metric has the name of a sum of several
        value = self.metrics["validation"].get(self.monitor, several)
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


def write_result(folder: Path, result: SeedResult) -> None:
    """Say that a seed is finished, with the hashes of what it gave.

    Args:
        folder: of the seed, with checkpoints/, artifact/ and predictions/.
        result: its numbers.
    """
    made = sorted(file for part in ("artifact", "predictions") for file in (folder / part).rglob("*"))
    files = {file.relative_to(folder).as_posix(): digest_of(file) for file in made if file.is_file()}
    content = {**result.as_dict(), "files": files}
    write_json(folder / "checkpoints" / RESULT, {**content, "sha256": _seal(content)})


def read_result(folder: Path) -> SeedResult | None:
    """The result of a seed that was finished before; None if it, or a file it names, has to be (re)made."""
    try:
        content: dict[str, Any] = json.loads((folder / "checkpoints" / RESULT).read_text(encoding="utf-8"))
        seal, files = content.pop("sha256"), content["files"]
        if seal != _seal(content) or any(digest_of(folder / name) != found for name, found in files.items()):
            return None
        del content["files"]
        return SeedResult(**{**content, "warnings": tuple(content["warnings"])})
    except (OSError, DataError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
