"""Predictions as files: .jsonl as they are; .csv, .tsv and .parquet with one column for every entry of theirs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from adaptkit.atomic import new_file
from adaptkit.errors import UsageError
from adaptkit.model.inference import Prediction

Write = Callable[[Prediction], Any]
SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")
_ROWS = 4096  # of a parquet row group


def check_output(path: Path, force: bool) -> None:
    """Raise UsageError where predictions cannot be written to this file."""
    if path.suffix.lower() not in SUFFIXES:
        message = f"cannot write {path.suffix or 'a file without suffix'}."
        raise UsageError(message, where=str(path), hint=f"Possible: {', '.join(SUFFIXES)}.")
    if path.exists() and not force:
        raise UsageError("exists already.", where=str(path), hint="Add --force to replace it.")


@contextmanager
def written(path: Path) -> Iterator[Write]:
    """What writes one prediction; the file is there, whole, when the block ends without an error."""
    kinds = {".jsonl": _jsonl, ".csv": _csv, ".tsv": _tsv, ".parquet": _parquet}
    with new_file(path) as temporary, kinds[path.suffix.lower()](temporary) as write:
        yield write


def to_line(prediction: Prediction) -> str:
    """One line of JSON, with its end."""
    return json.dumps(prediction, ensure_ascii=False, default=_plain) + "\n"


def flat(entries: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}, "c": [2]} -> {"a.b": 1, "c": [2]}."""
    found: dict[str, Any] = {}
    for name, value in entries.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


@contextmanager
def _jsonl(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:
        yield lambda prediction: file.write(to_line(prediction))


@contextmanager
def _csv(path: Path, delimiter: str = ",") -> Iterator[Write]:
    """Quoted as in RFC 4180; a list is a cell of JSON."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows: list[csv.DictWriter[str]] = []

        def write(prediction: Prediction) -> None:
            entries = flat(prediction)
            if not rows:
                rows.append(csv.DictWriter(file, entries, delimiter=delimiter, lineterminator="\n"))
                rows[0].writeheader()
            cells = {n: json.dumps(v, ensure_ascii=False) if isinstance(v, list) else v for n, v in entries.items()}
            rows[0].writerow(cells)

        yield write


def _tsv(path: Path) -> AbstractContextManager[Write]:
    return _csv(path, "\t")


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    waiting: list[Prediction] = []
    opened: list[parquet.ParquetWriter] = []

    def flush() -> None:
        if not opened:
            fields = [(name, _type(value)) for name, value in waiting[0].items()]
            opened.append(parquet.ParquetWriter(path, pyarrow.schema(fields)))
        opened[0].write_table(pyarrow.Table.from_pylist(waiting, schema=opened[0].schema))
        waiting.clear()

    def write(prediction: Prediction) -> None:
        waiting.append(flat(prediction))
        if len(waiting) == _ROWS:
            flush()

    try:
        yield write
        if waiting:
            flush()
    finally:
        for writer in opened:
            writer.close()


def _type(value: Any) -> pyarrow.DataType:
    if isinstance(value, list):  # an empty one has no labels in it
        return pyarrow.list_(_type(value[0]) if value else pyarrow.string())
    return pyarrow.float64() if isinstance(value, float) else pyarrow.string()


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
