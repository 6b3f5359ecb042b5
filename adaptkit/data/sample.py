"""What a data set is made of, and what it is as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One example.

    Attributes:
        id: names the sample in predictions and errors.
        inputs: modality -> raw value (text, array, path, list of numbers), or None where it is absent.
        targets: task -> raw target (label, list of labels, number or numbers).
        where: `file:line` it came from, or "".
    """

    id: str
    inputs: Mapping[str, Any]
    targets: Mapping[str, Any]
    where: str = ""

    @property
    def place(self) -> str:
        """How errors name it: `train.jsonl:7 (sample 42)`."""
        return f"{self.where} (sample {self.id})" if self.where else f"sample {self.id}"


@dataclass(frozen=True, slots=True)
class DataSet:
    """The splits of a recipe's data.

    Attributes:
        splits: `train`, `validation`, `test`, and further test splits named `test_*`.
        hash: SHA-256 of the contents: equal hashes mean equal samples in equal order.
        description: one line for people.
    """

    splits: Mapping[str, Sequence[Sample]]
    hash: str
    description: str
