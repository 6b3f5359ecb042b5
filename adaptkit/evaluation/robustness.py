"""What is left of a model where some samples lack some of its modalities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adaptkit.errors import UsageError
from adaptkit.evaluation.measure import Measured, lacks

RATES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Lack:
    """One cell of the table.

    Attributes:
        dropped: the modalities.
        split: the split.
        rate: share of its samples that were to lack them.
        absent: how many of them did.
        metrics: metric -> value; None where undefined.
    """

    dropped: tuple[str, ...]
    split: str
    rate: float
    absent: int
    metrics: dict[str, float | None]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "dropped": list(self.dropped),
            "split": self.split,
            "rate": self.rate,
            "absent": self.absent,
            "metrics": self.metrics,
        }


def robustness_of(
    look: Callable[[str, tuple[str, ...], float], Measured],
    names: Sequence[str],
    rates: Sequence[float],
    splits: Sequence[str],
) -> tuple[Lack, ...]:
    """Each modality alone, then (if there are several) all at once, at every rate.

    A sample lacks a modality by its id: at every higher rate too, whichever the modality, and again tomorrow. So
    rows and columns of the table differ by what is left out and not by chance.

    Args:
        look: measures a split without modalities, in a share of its samples.
        names: the modalities.
        rates: the shares.
        splits: where to look.
    """
    groups = [(name,) for name in names] + ([tuple(names)] if len(names) > 1 else [])
    found = []
    for split in splits:
        whole: Measured | None = None  # rate 0, the same for every group
        for group in groups:
            for rate in rates:
                measured = whole if rate == 0 and whole is not None else look(split, group, rate)
                whole = measured if rate == 0 else whole
                absent = sum(lacks(name, rate) for name in measured.ids)
                found.append(Lack(group, split, rate, absent, measured.metrics))
    return tuple(found)


def check_rates(rates: Sequence[float]) -> None:
    """Shares lie between 0 and 1.

    Raises:
        UsageError: one does not, or there is none.
    """
    wrong = [rate for rate in rates if not (math.isfinite(rate) and 0 <= rate <= 1)]
    if wrong or not rates:
        what = f"{wrong[0]} is no share of the samples." if wrong else "no rate is given."
        raise UsageError(what, where="--rates", hint="Write numbers from 0 to 1, as in --rates 0,0.5,1.")
