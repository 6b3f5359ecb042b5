"""What a campaign is: a numbered family of wrong inputs, and what must come of every one.

    python -m tests.fuzz                    every campaign in full (`make fuzz`)
    python -m tests.fuzz --share 0.1 plan   a tenth of those whose name contains "plan"

A module of this folder offers `CAMPAIGNS`; `MODULES` names them. Case N of a campaign follows from N and the seed only,
so a fault is found again by its number: `python -m tests.fuzz --only 4711 validate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MODULES = ("recipes", "damages", "runs", "stores", "data_files")
SEED = 20261121


@dataclass(frozen=True, slots=True)
class Case:
    """What came of one input.

    Attributes:
        outcome: in a word; the report counts them.
        fault: why it is one; "" where all is as it should be.
    """

    outcome: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Campaign:
    """A family of inputs.

    Attributes:
        name: in the report.
        full: how many inputs `make fuzz` tries.
        short: how many `make test` tries.
        try_case: (random seed of the case, scratch folder that lasts) -> what came of it.
        memory: gigabytes of address space that a worker may take; None: not limited.
        seconds: processor time that one case may take.
    """

    name: str
    full: int
    short: int
    try_case: Callable[[str, Path], Case]
    memory: float | None = 12.0
    seconds: float = 10.0
