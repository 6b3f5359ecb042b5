"""Files that rows name: recorded once, compared by size and time first, by content where these differ."""

from __future__ import annotations

import json
import os
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adaptkit.benchmarks.table import BenchmarkTable
from adaptkit.data import files as module
from adaptkit.data.files import changed_files, record_files
from adaptkit.data.rows import FORMATS, Column, Rows
from adaptkit.data.sample import each_once
from adaptkit.data.store import StoreWriter
from adaptkit.errors import RunError
from adaptkit.formats.map_style import read_map_style
from adaptkit.formats.tables import Csv, Jsonl, Parquet
from adaptkit.recipe import cells

SPLITS = ("train", "validation", "test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abc":
        (tmp_path / f"{name}.npy").write_bytes(name.encode() * 5000)
    return tmp_path


def recorded(folder: Path) -> Path:
    record_files(sorted(folder.glob("*.npy")), folder / "files.parquet", folder)
    return folder / "files.parquet"


def test_a_change_is_named_and_a_touch_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = recorded(folder)
    digest, looked = module._digest, []
    monkeypatch.setattr(module, "_digest", lambda path: looked.append(path.name) or digest(path))
    assert list(changed_files(record, folder)) == []
    assert looked == []  # equal size and time: nothing is read
    os.utime(folder / "a.npy", ns=(1, 1))
    assert list(changed_files(record, folder)) == []
    assert looked == ["a.npy"]
    content = bytearray((folder / "b.npy").read_bytes())
    content[2500] ^= 1  # of the same size, in its middle
    (folder / "b.npy").write_bytes(content)
    (folder / "c.npy").unlink()
    assert list(changed_files(record, folder)) == [f"{folder}/b.npy has changed", f"{folder}/c.npy is missing"]


def test_data_and_recipe_may_move_together(folder: Path) -> None:
    record_files([folder / "a.npy"], folder / "files.parquet", folder / "recipes")
    (folder / "moved").mkdir()
    (folder / "a.npy").rename(folder / "moved" / "a.npy")
    assert list(changed_files(folder / "files.parquet", folder / "moved" / "recipes")) == []


def test_nothing_to_record_is_no_record(tmp_path: Path) -> None:
    assert record_files([], tmp_path / "files.parquet", tmp_path) == 0
    assert not (tmp_path / "files.parquet").exists()


def test_a_damaged_record_is_told_or_harmless(folder: Path) -> None:
    record = recorded(folder)
    content, rng, told = record.read_bytes(), random.Random(0), 0
    for place in rng.sample(range(len(content)), 150):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        record.write_bytes(changed)
        try:
            list(changed_files(record, folder))
        except RunError:
            told += 1
    assert told > 50


def test_memory_does_not_grow_with_the_files(folder: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        record_files([folder / "a.npy"] * count, folder / "many.parquet", folder)
        assert list(changed_files(folder / "many.parquet", folder)) == []
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found

    assert peak(5 * module.BATCH) < 1.5 * peak(module.BATCH)


def written(folder: Path, kind: str) -> Any:
    """Three splits of three rows: two files, and nothing."""
    names = ["a.npy", "b.npy", None]
    if kind == "store":
        with StoreWriter(folder / "adaptkit", format="mosi", root=folder) as writer:
            writer.column("audio", "path")
            for split in SPLITS:
                for number, name in enumerate(names):
                    writer.add(split, str(number), {"audio": name})
        return BenchmarkTable(format="mosi", root=str(folder))
    for split in SPLITS:
        if kind == "jsonl":
            (folder / f"{split}.jsonl").write_text("".join(json.dumps({"audio": name}) + "\n" for name in names))
        elif kind == "csv":
            (folder / f"{split}.csv").write_text(
                "id,audio\n" + "".join(f"{n},{name or ''}\n" for n, name in enumerate(names))
            )
        else:
            pq.write_table(pa.table({"audio": names}), folder / f"{split}.parquet")
    return {"jsonl": Jsonl, "csv": Csv, "parquet": Parquet}[kind](format=kind, root=str(folder))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "store"])
def test_every_format_knows_its_files(folder: Path, kind: str) -> None:
    data = written(folder, kind)
    table = FORMATS[data.format](data, Path(), (Column("audio", cells.FILE, required=False),))
    for rows in table.splits.values():
        assert isinstance(rows, Rows)
        assert list(rows.files(["audio"])) == [folder / "a.npy", folder / "b.npy"]


def test_files_of_arrays_folders_and_bytes(folder: Path) -> None:
    (folder / "frames").mkdir()
    for name in ("2.png", "1.png"):
        (folder / "frames" / name).write_bytes(b"")
    np.savez(folder / "many.npz", x=np.zeros(3))
    form = cells.CellForm("file", folders=True, keys=True)
    values = ["frames", "many.npz::x", "a.npy", b"bytes", [1.0, 2.0], None]
    rows = read_map_style([{"clip": value} for value in values], folder, (Column("clip", form, required=False),)).splits
    found = {file.relative_to(folder).as_posix() for table in rows.values() for file in table.files(["clip"])}
    assert found == {"frames/1.png", "frames/2.png", "many.npz", "a.npy"}


def test_each_once() -> None:
    assert list(each_once(map(Path, ["b", "a", "b", "c", "a"]))) == [Path("b"), Path("a"), Path("c")]
