"""Lazy rows reach the processes that prepare batches, forked or started anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch.utils.data import DataLoader

from adaptkit.benchmarks.table import BenchmarkTable
from adaptkit.data.rows import FORMATS, Column
from adaptkit.data.sample import Sample, Samples
from adaptkit.data.store import StoreWriter
from adaptkit.formats.tables import Jsonl, Parquet
from adaptkit.recipe import cells

SPLITS = ("train", "validation", "test")
COUNT = 11


def as_jsonl(folder: Path) -> Any:
    for split in SPLITS:
        rows = [json.dumps({"text": f"t{n}", "audio": [float(n)] * 3}) for n in range(COUNT)]
        (folder / f"{split}.jsonl").write_text("\n".join(rows))
    return Jsonl(format="jsonl", root=str(folder))


def as_parquet(folder: Path) -> Any:
    table = pa.table({"text": [f"t{n}" for n in range(COUNT)], "audio": [[float(n)] * 3 for n in range(COUNT)]})
    for split in SPLITS:
        pq.write_table(table, folder / f"{split}.parquet")
    return Parquet(format="parquet", root=str(folder))


def as_store(folder: Path) -> Any:
    with StoreWriter(folder / "adaptkit", format="mosi", root=folder) as writer:
        writer.column("text", "text")
        writer.column("audio", "features")
        for split in SPLITS:
            for n in range(COUNT):
                writer.add(split, str(n), {"text": f"t{n}", "audio": np.full(3, n)})
    return BenchmarkTable(format="mosi", root=str(folder))


def listed(samples: list[Sample]) -> list[tuple[str, float]]:
    return [(sample.inputs["text"], float(np.sum(sample.inputs["audio"]))) for sample in samples]


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("write", [as_jsonl, as_parquet, as_store], ids=lambda write: write.__name__)
def test_workers_read_what_the_main_process_reads(tmp_path: Path, write: Any, method: str) -> None:
    data = write(tmp_path)
    table = FORMATS[data.format](data, Path(), (Column("text", cells.TEXT), Column("audio", cells.ARRAY)))
    samples = Samples(table.splits["train"], {"text": "text", "audio": "audio"}, {})
    loader = DataLoader(
        samples,  # type: ignore[arg-type]
        batch_size=4,
        collate_fn=list if method == "spawn" else listed,  # a spawned process cannot import this file
        num_workers=1,
        multiprocessing_context=method,
    )
    found = [pair for batch in loader for pair in (listed(batch) if method == "spawn" else batch)]
    assert found == [(f"t{n}", 3.0 * n) for n in range(COUNT)]
    assert len(samples) == COUNT  # and the temporary files are still there
    assert listed([samples[10]]) == [("t10", 30.0)]
