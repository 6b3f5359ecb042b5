"""A manifest costs a few bytes per row, however much its rows hold."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adaptkit.data.lazy_arrow import spooled
from adaptkit.data.rows import FORMATS, Column
from adaptkit.data.sample import DataSet, Samples
from adaptkit.formats.tables import Csv, Jsonl, Parquet
from adaptkit.recipe import cells

ROWS = 200_000
TEXT = "a plot of some length " * 10
COLUMNS = (Column("text", cells.TEXT), Column("label", cells.TARGET))
BYTES_PER_ROW = 40  # a Python object for each would take several hundred


def jsonl(folder: Path) -> Any:
    with (folder / "train.jsonl").open("w") as file:
        for index in range(ROWS):
            file.write(json.dumps({"text": f"{index} {TEXT}", "label": str(index % 7)}) + "\n")
    return Jsonl(format="jsonl", root=str(folder), validation="small.jsonl", test="small.jsonl")


def csv(folder: Path) -> Any:
    with (folder / "train.csv").open("w") as file:
        file.write("text,label\n")
        for index in range(ROWS):
            file.write(f"{index} {TEXT},x{index % 7}\n")
    return Csv(format="csv", root=str(folder), validation="small.csv", test="small.csv")


def parquet(folder: Path) -> Any:
    schema = pa.schema([("text", pa.string()), ("label", pa.string())])
    with pq.ParquetWriter(folder / "train.parquet", schema) as writer:
        for start in range(0, ROWS, 10_000):
            indices = range(start, start + 10_000)
            writer.write_table(
                pa.table({"text": [f"{i} {TEXT}" for i in indices], "label": [str(i % 7) for i in indices]}, schema)
            )
    return Parquet(format="parquet", root=str(folder), validation="small.parquet", test="small.parquet")


@pytest.mark.parametrize("write", [jsonl, csv, parquet], ids=lambda write: write.__name__)
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, write: Callable[[Path], Any]) -> None:
    data = write(tmp_path)
    (tmp_path / "small.jsonl").write_text('{"text": "a", "label": "1"}\n')
    (tmp_path / "small.csv").write_text("text,label\na,1\n")
    pq.write_table(pa.table({"text": ["a"], "label": ["1"]}), tmp_path / "small.parquet")
    arrow_before = pa.total_allocated_bytes()
    tracemalloc.start()
    table = FORMATS[data.format](data, Path(), COLUMNS)
    rows = {name: Samples(found, {"text": "text"}, {"label": "label"}) for name, found in table.splits.items()}
    samples = DataSet(rows, table.hash, table.description)
    labels = set(samples.targets("train", "label"))
    drawn = np.random.default_rng(0).integers(ROWS, size=2000)
    texts = [samples.splits["train"][index].inputs["text"] for index in drawn]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(samples.splits["train"]) == ROWS
    assert len(labels) == 7
    assert all(text.startswith(f"{index} a plot") for index, text in zip(drawn, texts, strict=True))
    assert peak < BYTES_PER_ROW * ROWS
    assert pa.total_allocated_bytes() - arrow_before < BYTES_PER_ROW * ROWS


def test_temporary_files_go_when_the_rows_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gc

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spool"))
    (tmp_path / "spool").mkdir()
    for split in ("train", "validation", "test"):
        pq.write_table(pa.table({"text": ["a"], "label": ["1"]}), tmp_path / f"{split}.parquet")
    table = FORMATS["parquet"](Parquet(format="parquet", root=str(tmp_path)), Path(), COLUMNS)
    assert table.splits["train"][0].values["text"] == "a"
    assert len(list((tmp_path / "spool").iterdir())) == 3
    del table
    gc.collect()
    assert not list((tmp_path / "spool").iterdir())


SPOOLING = """
import os, sys, time, pyarrow as pa
from adaptkit.data.lazy_arrow import spooled
rows = spooled([pa.record_batch({"x": [1, 2, 3]})], pa.schema([("x", pa.int64())]))
child = os.fork() if sys.argv[1] == "with a worker" else 1
os.write(1, f"{os.getpid()}\\n".encode())
time.sleep(600)
"""


def spooling(folder: Path, word: str) -> tuple[subprocess.Popen[str], set[int]]:
    """A process that has unpacked rows into the folder, and lives; and its workers."""
    process = subprocess.Popen(
        [sys.executable, "-c", SPOOLING, word],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    told = {int(process.stdout.readline()) for _ in range(2 if word == "with a worker" else 1)}
    process.stdout.close()
    return process, told - {process.pid}


@pytest.mark.skipif(os.name == "nt", reason="nothing is swept there")
def test_what_killed_processes_have_unpacked_is_swept_and_nothing_of_living_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    other = folder / "adaptkit-notes.txt"
    other.write_text("mine")
    living, _ = spooling(folder, "alone")
    (kept,) = folder.glob("*.arrow")
    (killed, _), (orphaning, workers) = spooling(folder, "alone"), spooling(folder, "with a worker")
    try:
        assert len(list(folder.glob("*.arrow"))) == 3
        for process in (killed, orphaning):
            process.kill()
            process.wait()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        rows = spooled([pa.record_batch({"x": [4]})], pa.schema([("x", pa.int64())]))
        assert [row["x"] for row in rows] == [4]
        assert kept in set(folder.glob("*.arrow"))
        assert len(list(folder.glob("*.arrow"))) == 3  # of the living one, of a worker that outlived its parent, ours
    finally:
        for pid in (*workers, living.pid):
            os.kill(pid, signal.SIGKILL)
        living.wait()
    del rows
    again = spooled([pa.record_batch({"x": [5]})], pa.schema([("x", pa.int64())]))
    assert len(list(folder.glob("*.arrow"))) == 1
    assert again[0] == {"x": 5}
    assert other.read_text() == "mine"
