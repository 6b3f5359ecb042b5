"""What a column holds, in numbers: lengths, labels, gaps, values that are none."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptkit.data.leaks import said
from adaptkit.data.messages import last_answer
from adaptkit.data.paths import ArrayPath, are_files

if TYPE_CHECKING:
    from adaptkit.data.sample import DataSet
    from adaptkit.recipe import ModalityTable, TaskTable

Summary = dict[str, Any]


class Gaps:
    """Counts what is there and what is absent; subclasses look at what is there."""

    def __init__(self) -> None:
        self.present = self.missing = 0

    def add(self, value: Any) -> None:
        """One cell, None where it is absent."""
        if value is None:
            self.missing += 1
        else:
            self.present += 1
            self.see(value)

    def see(self, value: Any) -> None:
        """One cell that is there."""

    def summary(self) -> Summary:
        """Everything found, as JSON."""
        return {"present": self.present, "missing": self.missing, **self.found()}

    def found(self) -> Summary:
        """What the class itself found."""
        return {}


class Texts(Gaps):
    """Words and characters."""

    def __init__(self) -> None:
        super().__init__()
        self._words, self._characters, self._empty = array("q"), array("q"), 0
        self._first, self._constant = "", True

    def see(self, value: Any) -> None:
        answer = last_answer(value)
        text = str(value) if answer is None else answer
        self._words.append(len(text.split()))
        self._characters.append(len(text))
        self._empty += not text.strip()
        self._first = text if len(self._words) == 1 else self._first
        self._constant = self._constant and text == self._first

    def found(self) -> Summary:
        return {
            "words": distribution(self._words),
            "characters": distribution(self._characters),
            "empty": self._empty,
            "alike": self._constant and len(self._words) > 1,
        }


class Vectors(Gaps):
    """Lengths, widths and values of arrays."""

    def __init__(self) -> None:
        super().__init__()
        self._lengths, self._widths = array("q"), Counter[int]()
        self._not_finite = self._zero = 0
        self._low, self._high, self._sum, self._squares, self._count = np.inf, -np.inf, 0.0, 0.0, 0

    def see(self, value: Any) -> None:
        vectors = np.atleast_2d(np.asarray(value, dtype=np.float32))
        self._lengths.append(len(vectors))
        self._widths[vectors.shape[-1]] += 1
        finite = vectors[np.isfinite(vectors)].astype(np.float64)
        self._not_finite += vectors.size - finite.size
        self._zero += not finite.any()
        if finite.size:
            self._low, self._high = min(self._low, finite.min()), max(self._high, finite.max())
            self._sum, self._squares = self._sum + finite.sum(), self._squares + np.square(finite).sum()
            self._count += finite.size

    def found(self) -> Summary:
        mean = self._sum / self._count if self._count else None
        values = None
        if mean is not None:
            spread = max(0.0, self._squares / self._count - mean**2) ** 0.5
            values = {"min": float(self._low), "max": float(self._high), "mean": float(mean), "std": float(spread)}
        return {
            "length": distribution(self._lengths),
            "widths": sorted(self._widths),
            "values": values,
            "not_finite": self._not_finite,
            "all_zero": self._zero,
        }


class Labels(Gaps):
    """How often each label occurs, and how many a sample has."""

    def __init__(self) -> None:
        super().__init__()
        self._counts, self._sizes = Counter[str](), array("q")

    def see(self, value: Any) -> None:
        labels = value if isinstance(value, list | tuple) else [value]
        self._sizes.append(len(labels))
        self._counts.update(str(label).lower() if isinstance(label, bool) else str(label) for label in labels)

    def found(self) -> Summary:
        return {
            "labels": dict(sorted(self._counts.items())),
            "per_sample": distribution(self._sizes),
            "without_label": sum(size == 0 for size in self._sizes),
        }


class Answers(Gaps):
    """Several texts per sample, maybe with a score each: how many, and how many different ones there are."""

    def __init__(self) -> None:
        super().__init__()
        self._sizes, self._different, self._empty = array("q"), set[int](), 0

    def see(self, value: Any) -> None:
        answers = said(value)
        entries = [answers] if isinstance(answers, str) else list(answers)  # of a table answer -> score, its answers
        texts = [entry.get("answer", "") if isinstance(entry, Mapping) else entry for entry in entries]
        self._sizes.append(len(texts))
        self._different.update(map(hash, texts))
        self._empty += not any(str(text).strip() for text in texts)

    def found(self) -> Summary:
        return {"per_sample": distribution(self._sizes), "different": len(self._different), "empty": self._empty}


class Numbers(Gaps):
    """One number, or several, per sample."""

    def __init__(self) -> None:
        super().__init__()
        self._values, self._not_numbers, self._not_finite = array("d"), 0, 0

    def see(self, value: Any) -> None:
        try:
            numbers = np.atleast_1d(np.asarray(value, dtype=np.float64)).ravel()
        except (TypeError, ValueError, OverflowError):
            self._not_numbers += 1
            return
        finite = numbers[np.isfinite(numbers)]
        self._not_finite += len(numbers) - len(finite)
        self._values.extend(finite.tolist())

    def found(self) -> Summary:
        return {
            "values": distribution(self._values),
            "not_finite": self._not_finite,
            "not_numbers": self._not_numbers,
        }


# The words by which tables of modalities and tasks say how a column of theirs is summarised.
SUMMARIES: Mapping[str, Callable[[], Gaps]] = {
    "text": Texts,
    "vectors": Vectors,
    "labels": Labels,
    "answers": Answers,
    "numbers": Numbers,
    "gaps": Gaps,
}
# Kinds of columns of stores -> their summary. Everything else: only whether it is there.
OF_STORES: Mapping[str, str] = {
    "text": "text",
    "features": "vectors",
    "ints": "vectors",
    "label": "labels",
    "labels": "labels",
    "texts": "answers",
    "target": "answers",
    "number": "numbers",
    "numbers": "numbers",
}


def summarised(summary: str, values: Iterable[Any], kind: str) -> Summary:
    """The summary of one column.

    Args:
        summary: which.
        values: raw; None where absent.
        kind: of the column, as it stands in the result.
    """
    gaps = SUMMARIES[summary]()
    for value in values:
        gaps.add(value)
    return {"kind": kind, **gaps.summary()}


def of_tasks(data: DataSet, split: str, tasks: Mapping[str, TaskTable]) -> dict[str, Summary]:
    """Task -> summary of its column in a split."""
    return {name: summarised(task.summary, data.targets(split, name), task.kind) for name, task in tasks.items()}


def distribution(values: Any) -> dict[str, float] | None:
    """Minimum, quartiles, 95th percentile, maximum, mean and standard deviation; None of nothing."""
    if not len(values):
        return None
    numbers = np.asarray(values, dtype=np.float64)
    names = ("min", "p25", "median", "p75", "p95", "max")
    found = np.quantile(numbers, [0, 0.25, 0.5, 0.75, 0.95, 1])
    ends = {name: round(float(value), 6) for name, value in zip(names, found, strict=True)}
    return {**ends, "mean": round(float(numbers.mean()), 6), "std": round(float(numbers.std()), 6)}


def described(
    data: DataSet, modalities: Mapping[str, ModalityTable], tasks: Mapping[str, TaskTable]
) -> dict[str, dict[str, Any]]:
    """Split -> {"samples": N, "columns": {name: summary}} of the raw values of a recipe's data.

    Args:
        data: all splits.
        modalities: name -> table.
        tasks: name -> table.
    """
    splits = {}
    for split, samples in data.splits.items():
        gaps = {name: SUMMARIES[table.summary]() for name, table in modalities.items()}
        files = {name: Gaps() for name in modalities}
        for sample in samples:
            for name, value in sample.inputs.items():
                named = isinstance(value, str | Path | ArrayPath) or are_files(value)
                of_file = named and isinstance(gaps[name], Vectors)
                (files if of_file else gaps)[name].add(value)
        columns = {name: _together(table.kind, gaps[name], files[name]) for name, table in modalities.items()}
        splits[split] = {"samples": len(samples), "columns": columns | of_tasks(data, split, tasks)}
    return splits


def _together(kind: str, gaps: Gaps, files: Gaps) -> Summary:
    """Vectors that are partly, or all, files of their own: those are counted, not read."""
    found = Gaps.summary(files) if files.present and not gaps.present else gaps.summary()
    both = {"present": gaps.present + files.present, "missing": gaps.missing + files.missing}
    return {"kind": kind, **found, **both}
