"""What is wrong, or odd, with a data set: problems stop a training or falsify it, warnings are for the eye."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from adaptkit.data.label_warnings import constant_number, label_warnings, some
from adaptkit.data.leaks import Marks, digest, said, shared
from adaptkit.data.moments import Moments
from adaptkit.data.paths import digest_of, named_file
from adaptkit.data.sample import DataSet, Sample
from adaptkit.data.stats import OF_STORES, Summary, distribution, of_tasks, summarised
from adaptkit.data.store import Store, placed, verify
from adaptkit.data.store_writer import FILES
from adaptkit.errors import DataError, Problem, UnavailableError
from adaptkit.recipe import TaskTable

SHOWN = 5  # problems of one kind and split that are told one by one
HARDLY, NOT_AT_ALL = 0.05, 1e-9  # share of the energy of vectors that varies
UNLIKE = 10  # times the median deviation of a channel: from here on the others are hardly heard


@dataclass
class Findings:
    """What a check found.

    Attributes:
        splits: name -> {"samples": N, "columns": {name: summary}}.
        problems: what is wrong.
        warnings: what is odd.
        notes: what the import dropped or changed.
    """

    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def columns(self, name: str) -> dict[str, Summary]:
        """Split -> summary of this column."""
        return {split: found["columns"][name] for split, found in self.splits.items() if name in found["columns"]}


class Figures(Protocol):
    """What an encoder wants to be counted of its values."""

    def of(self, value: Any, where: str) -> Mapping[str, int]:
        """Words for it -> how much. Raises DataError where the value cannot be read."""
        ...

    def odd(self, totals: Mapping[str, int]) -> Iterator[str]:
        """What is odd of the sums over a split."""
        ...


class Reads(Protocol):
    """What a check needs of an encoder."""

    limit: int | None
    unit: ClassVar[str]
    could_standardise: bool
    figures: Figures | None

    def length(self, value: Any) -> int: ...
    def prepare(self, value: Any, where: str) -> Any: ...


def check_store(store: Store, *, whole: bool = True) -> Findings:
    """Every column of a store, and whether its files are those that were written (`whole`)."""
    found, marks = Findings(problems=damage(store) if whole else []), {}
    try:
        for split in store.splits:
            rows = store.rows(split)
            kinds = {name: column["kind"] for name, column in store.columns.items()}
            columns = {
                name: summarised(OF_STORES.get(kind, "gaps"), rows.column(name), kind) for name, kind in kinds.items()
            }
            found.splits[split] = {"samples": len(rows), "columns": columns}
            marks[split] = _marks(store, split) if whole else Marks()
            if store.reaches_files:
                _check_paths(store, split, found)
    except DataError as error:
        found.problems.extend(error.problems)
    _judge(found)
    _compare_ids({split: store.rows(split, ()).column("id") for split in found.splits}, found)
    found.warnings += shared(marks, lambda split, index: f"{split}.parquet:{index + 1}")
    if not store.reaches_files:
        found.warnings.append(
            f"the files of its paths lie outside {store.within} and are not looked at: {store.meta['root']}."
        )
    found.notes += [f"{text}: {count:,}" for text, count in store.meta["audit"].items()]
    return found


def damage(store: Store) -> list[Problem]:
    """Files of a store that are missing, or not those that were written."""
    try:
        verify(store)
    except DataError as error:
        return list(error.problems)
    return []


def check_sources(published: Mapping[str, str], root: Path, recorded: Mapping[str, str]) -> list[str]:
    """Warnings about source files that are not the published ones, or that changed since the import."""
    warnings = []
    for name, at_import in recorded.items():
        path = named_file(root, name, "sources")
        if not path.is_relative_to(root):
            warnings.append(f"{name} lies outside {root} and is not compared.")
        elif path.exists() and digest_of(path) != at_import.removeprefix("sha256:"):
            warnings.append(f"{name} changed since the import: import it again.")
    for name, known in published.items():
        parts = Path(name).parts
        for path in {root.joinpath(*parts[start:]) for start in range(len(parts))}:
            if path.is_file() and digest_of(path) != known:
                warnings.append(f"{path.relative_to(root)} is not the published file: its SHA-256 differs.")
    return warnings


def check_samples(data: DataSet, encoders: Mapping[str, Reads], tasks: Mapping[str, TaskTable]) -> Findings:
    """Every sample as training would read it.

    Args:
        data: all splits.
        encoders: modality -> its encoder.
        tasks: name -> table.
    """
    found, marks = Findings(), {split: Marks() for split in data.splits}
    for split, samples in data.splits.items():
        readers = {name: _Reader(name, encoder, split, found) for name, encoder in encoders.items()}
        ids = []
        for sample in samples:
            ids.append(sample.id)
            contents = {name: reader.see(sample) for name, reader in readers.items()}
            targets = {f"task {name}": digest(said(value)) for name, value in sample.targets.items()}
            marks[split].add(sample.id if sample.id != sample.where else "", contents, targets)
        columns = {name: reader.summary() for name, reader in readers.items()}
        columns |= of_tasks(data, split, tasks)
        found.splits[split] = {"samples": len(samples), "columns": columns}
        _compare_ids({split: ids}, found)
    _judge(found)
    found.warnings += shared(marks, lambda split, index: data.splits[split][index].place)
    return found


class _Reader:
    """One modality of one split, read sample by sample."""

    def __init__(self, name: str, encoder: Reads, split: str, found: Findings) -> None:
        self.name, self.encoder, self.split, self.report = name, encoder, split, found
        self.missing = self.broken = self.cut = self.lost = 0
        self.lengths: list[int] = []
        self.figures: Counter[str] = Counter()
        self.moments: Moments | None = None
        self.unavailable = ""
        self.first, self.constant = b"", True

    def see(self, sample: Sample) -> bytes | None:
        """Reads the sample's value; its digest, or None where it cannot be read."""
        value = sample.inputs.get(self.name)
        if value is None:
            self.missing += 1
            return digest(value)
        try:
            prepared = self.encoder.prepare(value, sample.place)
            if self.encoder.could_standardise:
                self.moments = self.moments or Moments(prepared.shape[1])
                self.moments.add(prepared)
            self._measure(value, sample.place)
        except DataError as error:
            self.broken += 1
            if self.broken <= SHOWN:
                self.report.problems.extend(error.problems)
            return None
        except UnavailableError as error:
            self.unavailable = str(error)
        found = digest(value)
        self.first = self.first or found
        self.constant &= found == self.first
        return found

    def _measure(self, value: Any, where: str) -> None:
        if self.encoder.figures is not None:
            self.figures.update(self.encoder.figures.of(value, where))
        length = self.encoder.length(value)
        self.lengths.append(length)
        if self.encoder.limit is not None and length > self.encoder.limit:
            self.cut += 1
            self.lost += length - self.encoder.limit

    def summary(self) -> Summary:
        if self.broken > SHOWN:
            more = f"{self.broken - SHOWN:,} more samples whose {self.name} cannot be read."
            self.report.problems.append(Problem(more, self.split))
        if self.unavailable:
            self.report.warnings.append(f"{self.split}: the lengths of {self.name} are unknown: {self.unavailable}")
        if self.cut and getattr(self.encoder, "keep", "") != "even":  # a few of many, evenly, is what was asked for
            of = f"{self.cut:,} of {len(self.lengths):,} {self.name}"
            limit, share = self.encoder.limit, self.lost / sum(self.lengths)
            self.report.warnings.append(
                f"{self.split}: {of} have more than {limit:,} {self.encoder.unit} and are cut; {share:.1%} is lost."
            )
        if self.encoder.figures is not None:
            self.report.warnings += [f"{self.split}: {told}" for told in self.encoder.figures.odd(self.figures)]
        constant = self.constant and len(self.lengths) > 1
        moments = self.moments if len(self.lengths) > 1 else None
        varying = None if moments is None else moments.varying
        if self.split == "train" and moments is not None and not constant:
            self.report.warnings += wants_standardising(self.name, moments)
        return {
            "kind": self.encoder.unit,
            "present": len(self.lengths) if not self.unavailable else 0,
            "missing": self.missing,
            "broken": self.broken,
            "length": distribution(self.lengths),
            "limit": self.encoder.limit,
            "cut": self.cut,
            "lost": self.lost,
            "alike": constant,
            **({"figures": dict(self.figures)} if self.figures else {}),
        } | ({} if varying is None else {"varying": round(varying, 6)})


def wants_standardising(name: str, moments: Moments) -> Iterator[str]:
    """Where it was measured to help: what differs drowns in what all have in common, or in one channel."""
    key, varying, unlike = f"Write modality.{name}.standardise = true.", moments.varying, moments.unlike
    if varying < NOT_AT_ALL:
        yield f"train: {name} is the same in every vector."
    elif varying < HARDLY:
        yield f"train: {name} hardly varies: {varying:.1%} of its energy differs between vectors. {key}"
    elif unlike > UNLIKE:
        yield f"train: {name} has channels of unlike scale, the largest {unlike:,.0f} times their median. {key}"


def _judge(found: Findings) -> None:
    """Warnings and problems that follow from the summaries."""
    for split, report in found.splits.items():
        for name, column in report["columns"].items():
            if column["missing"]:
                found.warnings.append(f"{split}: {name} is missing in {column['missing']:,} of {report['samples']:,}.")
            if column.get("alike"):
                found.warnings.append(f"{split}: {name} is the same in all {column['present']:,} samples that have it.")
            if column.get("empty"):
                found.warnings.append(f"{split}: {name} is empty in {column['empty']:,} samples.")
            if column.get("all_zero"):
                found.warnings.append(f"{split}: {name} is all zeros in {column['all_zero']:,} samples.")
            if column.get("not_finite"):
                found.problems.append(Problem(f"{name} has {column['not_finite']:,} values NaN or infinite.", split))
            if column.get("not_numbers"):
                found.problems.append(Problem(f"{name} is no number in {column['not_numbers']:,} samples.", split))
            if len(column.get("widths", ())) > 1:
                widths = ", ".join(map(str, column["widths"]))
                found.problems.append(Problem(f"{name} has vectors of different widths: {widths}.", split))
            found.warnings.extend(constant_number(name, split, column))
    for name in {name: None for report in found.splits.values() for name in report["columns"]}:
        columns = {split: column for split, column in found.columns(name).items() if "labels" in column}
        found.warnings.extend(label_warnings(name, columns))


def _compare_ids(ids: Mapping[str, Iterable[str]], found: Findings) -> None:
    for split, of_split in ids.items():
        twice = sorted(id for id, count in Counter(of_split).items() if count > 1)
        if twice:
            found.warnings.append(f"{split}: ids that are there several times: {some(twice)}.")


def _marks(store: Store, split: str) -> Marks:
    """Those of a split, whose paths count by their names."""
    marks, rows = Marks(), store.rows(split)
    summaries = {name: OF_STORES.get(column["kind"]) for name, column in store.columns.items()}
    for id, *values in zip(rows.column("id"), *map(rows.column, summaries), strict=True):
        found = {name: digest(said(value)) for name, value in zip(summaries, values, strict=True)}
        targets = {name: found.pop(name) for name, of in summaries.items() if of in ("labels", "answers", "numbers")}
        marks.add(id, found, targets)
    return marks


def _check_paths(store: Store, split: str, found: Findings) -> None:
    """Files that went away since the import."""
    for name, column in store.columns.items():
        if column["kind"] in FILES:
            lost = 0
            for index, path in enumerate(store.rows(split, [name]).column(name)):
                try:
                    if path is not None:
                        placed(store.root, path, column["kind"], name, f"{split}.parquet:{index + 1}")
                except DataError as error:
                    lost += 1
                    if lost <= SHOWN:
                        found.problems.extend(error.problems)
            if lost > SHOWN:
                found.problems.append(Problem(f"{lost - SHOWN:,} more files of {name} are not there.", split))
