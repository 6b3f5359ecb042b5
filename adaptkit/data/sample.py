"""What a data set is made of, and what it is as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from adaptkit.data.rows import Row, Rows


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
        if self.where == self.id:
            return self.where
        return f"{self.where} (sample {self.id})" if self.where else f"sample {self.id}"


class Samples(Sequence[Sample]):
    """The samples of a split, each made of its row when it is asked for.

    Args:
        rows: as the format gives them.
        inputs: modality -> its column, or its columns where it is a table.
        targets: task -> its column.
        sources: task -> the one of several sources of data that has it; of one source nothing is said.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        inputs: Mapping[str, str | tuple[str, ...]],
        targets: Mapping[str, str],
        sources: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.rows, self._inputs, self._targets = rows, dict(inputs), dict(targets)
        self.sources = dict(sources)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self.rows[index]
        own = {task: name for task, name in self._targets.items() if self.sources.get(task, "") in ("", row.source)}
        return sample_of(row, self._inputs, own)

    @property
    def tasks(self) -> list[str]:
        """The tasks whose targets it has."""
        return [*self._targets]

    def targets(self, task: str) -> Targets:
        """The targets of one task, in order; nothing else of the samples is read."""
        part = self.parts.get(self.sources.get(task, ""))
        return Targets(() if part is None else part.samples.rows, self._targets[task])

    @property
    def parts(self) -> dict[str, Part]:
        """Source -> its samples, one source after another; "" for all where there is one."""
        rows: Mapping[str, Sequence[Row]] | None = getattr(self.rows, "parts", None)
        if rows is None:
            return {"": Part(0, self)}
        parts, start = {}, 0
        for name, own in rows.items():
            targets = {task: column for task, column in self._targets.items() if self.sources.get(task) == name}
            parts[name] = Part(start, Samples(own, self._inputs, targets))
            start += len(own)
        return parts


class Part(NamedTuple):
    """The samples of one source, and the index of its first among all."""

    start: int
    samples: Samples


def sample_of(row: Row, inputs: Mapping[str, str | tuple[str, ...]], targets: Mapping[str, str]) -> Sample:
    """A row as a sample.

    Args:
        row: as a format gives it.
        inputs: modality -> its column, or its columns where it is a table.
        targets: task -> its column.
    """
    found = {name: _value(row.values, columns) for name, columns in inputs.items()}
    return Sample(row.id, found, {name: row.values[column] for name, column in targets.items()}, row.where)


class Targets(Sequence[Any]):
    """The raw targets of one task: can be gone through several times, and holds none of them in memory."""

    def __init__(self, rows: Sequence[Row], column: str) -> None:
        self._rows, self._column = rows, column

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        found = self._rows[index]
        return [row.values[self._column] for row in found] if isinstance(found, list) else found.values[self._column]

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self._rows, Rows):
            return self._rows.column(self._column)
        return (row.values[self._column] for row in self._rows)


@dataclass(frozen=True, slots=True)
class DataSet:
    """The splits of a recipe's data.

    Attributes:
        splits: `train`, `validation`, `test`, and further test splits named `test_*`.
        hash: SHA-256 of the contents: equal hashes mean equal samples in equal order.
        description: one line for people.
        labels: task -> its labels, where the data itself says what they are.
        columns: those that may name files.
        further: files that are read besides, and are not in the hash.
    """

    splits: Mapping[str, Samples]
    hash: str
    description: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    further: tuple[Path, ...] = ()

    def files(self) -> Iterator[Path]:
        """Every file that the data consists of besides what is in the hash, once."""
        tables = (samples.rows for samples in self.splits.values() if self.columns)
        named = (file for rows in tables if isinstance(rows, Rows) for file in rows.files(self.columns))
        return each_once(chain(self.further, named))

    def targets(self, split: str, task: str) -> Targets:
        """The raw targets of a task in a split."""
        return self.splits[split].targets(task)


def each_once(files: Iterable[Path]) -> Iterator[Path]:
    """Without repetitions, in order; remembers some 60 bytes of each."""
    seen: set[int] = set()
    for file in files:
        mark = hash(str(file))
        if mark not in seen:
            seen.add(mark)
            yield file


def _value(values: Mapping[str, Any], columns: str | tuple[str, ...]) -> Any:
    if isinstance(columns, str):
        return values[columns]
    cells = {name: values[name] for name in columns}
    return None if all(cell is None for cell in cells.values()) else cells
