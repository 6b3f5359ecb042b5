"""Stores: whole or not at all, read lazily, and clear about what is wrong with them."""

from __future__ import annotations

import json
import os
import pickle
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from adaptkit.benchmarks.table import BenchmarkTable
from adaptkit.data import store as module
from adaptkit.data.lazy_features import Features, FeatureWriter
from adaptkit.data.rows import FORMATS, Column, Row
from adaptkit.data.store import Store, StoreWriter, find_store, open_store, verify
from adaptkit.data.store_writer import seal
from adaptkit.errors import DataError, UsageError
from adaptkit.formats import load_data
from adaptkit.recipe import cells

SPLITS = ("train", "validation", "test")


def vectors(index: int) -> np.ndarray | None:
    return None if index == 1 else np.full((index + 1, 3), index + 0.5, dtype=np.float32)


def fill(writer: StoreWriter, samples: int = 3) -> None:
    writer.column("words", "text", description="what was said")
    writer.column("audio", "features")
    writer.column("face", "path")
    writer.column("sentiment", "number")
    writer.column("tags", "labels")
    for split in SPLITS:
        for index in range(samples):
            values = {
                "words": f"{split} {index}",
                "audio": vectors(index),
                "face": "faces/a.png" if index != 2 else None,
                "sentiment": index - 1.0,
                "tags": ["b", "a"][: index % 3],
            }
            writer.add(split, f"{split}-{index}", values)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mosi" / "faces").mkdir(parents=True)
    (tmp_path / "mosi" / "faces" / "a.png").write_bytes(b"png")
    (tmp_path / "mosi" / "raw.pkl").write_bytes(b"source")
    return tmp_path / "mosi"


def made(root: Path, *, name: str = "adaptkit", variant: str = "v", force: bool = False) -> Store:
    with StoreWriter(root / name, format="mosi", variant=variant, root=root, force=force) as writer:
        writer.source(root / "raw.pkl")
        writer.note("dropped", 2)
        writer.note("dropped")
        fill(writer)
    return open_store(root / name)


def read(root: Path, *columns: Column, **keys: Any) -> list[Row]:
    table = FORMATS["mosi"](BenchmarkTable(format="mosi", root=str(root), **keys), Path(), columns)
    return list(table.splits["train"])


def test_what_was_added_is_what_is_read(root: Path) -> None:
    store = made(root)
    assert store.splits == SPLITS
    rows = store.rows("validation")
    assert len(rows) == 3
    assert rows[0]["id"] == "validation-0"
    assert rows[1]["audio"] is None
    assert np.array_equal(rows[2]["audio"], np.full((3, 3), 2.5, np.float32))
    assert rows[-1]["face"] is None
    assert [row["sentiment"] for row in rows[:2]] == [-1.0, 0.0]
    assert list(rows.column("tags")) == [[], ["b"], ["b", "a"]]
    assert set(store.rows("train", ["words"])[0]) == {"id", "words"}
    assert store.meta["classes"] == {"tags": ["a", "b"]}
    assert store.meta["audit"] == {"dropped": 3}
    assert list(store.meta["sources"]) == ["raw.pkl"]
    assert store.columns["audio"]["width"] == 3
    verify(store)


def test_others_can_read_the_files(root: Path) -> None:
    store = made(root)
    assert pq.read_table(store.folder / "train.parquet").column("words").to_pylist()[0] == "train 0"
    tensors = load_file(store.folder / "features" / "audio.train.safetensors")
    assert tensors["offsets"].tolist() == [0, 1, 1, 4]
    assert tensors["values"][1:4].eq(2.5).all()


def test_rows_can_be_sent_to_a_worker(root: Path) -> None:
    table = (
        FORMATS["mosi"](BenchmarkTable(format="mosi", root=str(root)), Path(), (Column("words", cells.TEXT),))
        if made(root)
        else 0
    )
    rows = table.splits["train"]  # type: ignore[union-attr]
    assert list(pickle.loads(pickle.dumps(rows))) == list(rows)


def test_a_format_reads_the_root_or_the_store(root: Path) -> None:
    made(root)
    columns = (Column("words", cells.TEXT), Column("face", cells.FILE, required=False))
    first = read(root, *columns)
    assert read(root / "adaptkit", columns[0])[0].values["words"] == first[0].values["words"]
    with pytest.raises(DataError, match=rf"start from {root.resolve()}, outside .*data.download = "):
        read(root / "adaptkit", *columns)
    assert first == read(root / "adaptkit", *columns, download=str(root))
    assert first[0].values["face"] == (root / "faces" / "a.png").resolve()
    assert (first[0].id, first[2].where) == ("train-0", "train.parquet:3")


def test_wrong_columns_are_named_with_what_to_write(root: Path) -> None:
    made(root)
    with pytest.raises(DataError, match=r"mosi has no column 'wrods'\. Did you mean \"words\""):
        read(root, Column("wrods", cells.TEXT))
    with pytest.raises(DataError, match=r"holds features, which a modality of kind text cannot read.*\"features\""):
        read(root, Column("audio", cells.TEXT, kind="text", reads=("text", "label")))
    with pytest.raises(DataError, match=r"train\.parquet:2  audio is absent\. Or say what to do"):
        read(root, Column("audio", cells.ARRAY))
    with pytest.raises(DataError, match=r"train\.parquet:3  face is absent"):
        read(root, Column("face", cells.FILE))


def test_data_that_was_not_imported_says_the_command(root: Path) -> None:
    with pytest.raises(DataError, match=rf"not been imported as mosi\. Run: adaptkit data import mosi {root}$"):
        read(root, Column("words", cells.TEXT))
    made(root)
    with pytest.raises(DataError, match=r"imported as mosi w \(but as mosi v\)\. Run: .* --variant w$"):
        read(root, Column("words", cells.TEXT), variant="w")
    with pytest.raises(DataError, match="does not exist"):
        find_store(root / "nowhere", "mosi")


def test_one_of_several_stores_is_chosen_by_its_variant(root: Path) -> None:
    made(root, name="adaptkit-a", variant="a")
    assert find_store(root, "mosi").folder.name == "adaptkit-a"
    made(root, name="adaptkit-b", variant="b")
    assert find_store(root, "mosi", "b").folder.name == "adaptkit-b"
    with pytest.raises(DataError, match="several stores: a, b"):
        find_store(root, "mosi")


def writes(root: Path, kind: str, *values: Any) -> None:
    with StoreWriter(root / "x", format="mosi", root=root) as writer:
        writer.column("c", kind)
        for value in values:
            writer.add("train", "7", {"c": value})


def test_nothing_is_left_of_a_store_that_failed(root: Path) -> None:
    before = sorted(root.rglob("*"))
    with pytest.raises(DataError, match="leaves the data folder"):
        writes(root, "path", "../../etc/passwd")
    with pytest.raises(DataError, match="no sample"):
        writes(root, "path")
    assert sorted(root.rglob("*")) == before


def test_a_store_is_replaced_only_when_forced_and_nothing_else_ever(root: Path) -> None:
    made(root)
    with pytest.raises(UsageError, match="exists already"):
        made(root)
    assert made(root, force=True, variant="new").meta["variant"] == "new"
    (root / "mine").mkdir()
    (root / "mine" / "precious").write_text("x")
    with pytest.raises(UsageError, match="is not a store, so it is not replaced"):
        made(root, name="mine", force=True)
    assert (root / "mine" / "precious").read_text() == "x"


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("features", [np.zeros(3), np.zeros(2)], "width 2, not 3"),
        ("features", [np.zeros((1, 2, 3))], "shape (1, 2, 3)"),
        ("features", [["a"]], "not an array of numbers"),
        ("number", ["many"], "does not fit its column"),
        ("path", ["no.png"], "does not exist"),
    ],
)
def test_values_that_do_not_fit_are_named(root: Path, kind: str, values: list[Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        writes(root, kind, *values)
    assert message in str(caught.value)


def test_what_is_not_finite_becomes_zero_and_is_told(root: Path) -> None:
    with StoreWriter(root / "adaptkit", format="mosi", root=root) as writer:
        writer.column("audio", "features")
        writer.add("train", "1", {"audio": np.array([[1.0, -np.inf], [np.nan, 2.0], [1e300, 0.0]])})
    store = open_store(root / "adaptkit")
    assert store.rows("train")[0]["audio"].tolist() == [[1, 0], [0, 2], [0, 0]]
    assert store.meta["audit"] == {"NaN or infinity in audio set to 0 (values)": 3}


@pytest.mark.parametrize("width", [1, 3, 4])
@pytest.mark.parametrize("lengths", [[1], [0], [2, 0, 3], [0, 0]])
def test_features_of_any_number_of_vectors(tmp_path: Path, width: int, lengths: list[int]) -> None:
    writer = FeatureWriter(tmp_path / "f.safetensors", width)
    arrays = [np.random.default_rng(n).normal(size=(n, width)).astype(np.float32) for n in lengths]
    for value in arrays:
        writer.add(value if len(value) else None, "here")
    writer.close()
    back = Features(tmp_path / "f.safetensors")
    assert back.lengths.tolist() == lengths
    for value, found in zip(arrays, back, strict=True):
        assert found is None if not len(value) else np.array_equal(value, found)
    tensors = load_file(tmp_path / "f.safetensors")
    assert tensors["offsets"].tolist() == back.offsets.tolist()


def test_damage_is_told(root: Path) -> None:
    store = made(root)
    file = store.folder / "features" / "audio.train.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-8])
    for look in (lambda: store.rows("train"), lambda: verify(store), lambda: Features(file)):
        with pytest.raises(DataError, match=r"audio\.train\.safetensors.*(was changed after|not a readable file of)"):
            look()
    file.write_bytes(b"")
    with pytest.raises(DataError, match="not a readable file of features"):
        Features(file)
    file.unlink()
    with pytest.raises(DataError, match="the file is missing"):
        verify(store)
    file.write_bytes(content)
    (store.folder / "test.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"test\.parquet.*was changed after the import"):
        store.rows("test")
    meta = json.loads((store.folder / "meta.json").read_text())

    def write(**changes: object) -> None:
        content = {**meta, **changes}
        (store.folder / "meta.json").write_text(json.dumps({**content, "sha256": seal(content)}))

    write(splits={"train": 4})
    with pytest.raises(DataError, match="train has 3 rows, not 4"):
        open_store(store.folder).rows("train")
    for key, value in (("splits", {"../train": 3}), ("columns", {"words": {"kind": "code"}}), ("files", {"/x": ""})):
        write(**{key: value})
        with pytest.raises(DataError, match="is damaged"):
            open_store(store.folder)
    (store.folder / "meta.json").write_text("{}")
    with pytest.raises(DataError, match="does not describe a store"):
        open_store(store.folder)
    write(adaptkit_store=99)
    with pytest.raises(DataError, match="version 99"):
        open_store(store.folder)


def test_every_changed_bit_is_found_when_a_file_is_opened(root: Path) -> None:
    """Also one in a label of meta.json, or in the middle of the vectors."""
    store, rng = made(root), random.Random(0)
    for path in sorted(store.folder.rglob("*.*")):
        content = path.read_bytes()
        for place in rng.sample(range(len(content)), min(40, len(content))):
            changed = bytearray(content)
            changed[place] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
            os.utime(path, ns=(1, rng.getrandbits(60)))
            with pytest.raises(DataError):
                _ = [open_store(store.folder).rows(split) for split in SPLITS]
        path.write_bytes(content)
        os.utime(path, ns=(1, rng.getrandbits(60)))
    assert len(open_store(store.folder).rows("train")) == 3


def test_a_large_file_is_believed_where_size_and_time_are_those_of_the_import(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made(root)
    monkeypatch.setattr(module, "ALWAYS", 0)
    monkeypatch.setattr(module, "_digest", lambda *_: pytest.fail("read"))
    store.rows("train")
    monkeypatch.undo()
    for path in store.folder.rglob("*.*"):
        path.touch()
    monkeypatch.setattr(module, "ALWAYS", 0)
    store.rows("train")
    (store.folder / "train.parquet").write_bytes((store.folder / "test.parquet").read_bytes())
    with pytest.raises(DataError, match="was changed after the import"):
        store.rows("train")


def test_memory_does_not_grow_with_the_features(tmp_path: Path) -> None:
    writer = FeatureWriter(tmp_path / "f.safetensors", 1024)
    block = np.ones((16, 1024), dtype=np.float32)
    tracemalloc.start()
    for _ in range(500):  # 33 MB
        writer.add(block, "here")
    writer.close()
    back = Features(tmp_path / "f.safetensors")
    total = sum(float(value[0, 0]) for value in back if value is not None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 500
    assert peak < 2_000_000


def test_a_recipe_reads_a_store_and_takes_its_classes(root: Path, tmp_path: Path) -> None:
    from adaptkit.recipe import load_recipe

    made(root)
    (tmp_path / "r.toml").write_text(
        'schema = 1\nname = "r"\n[backbone]\nmodel = "bert-base"\n'
        '[modality.words]\nkind = "text"\nroute = "backbone"\n'
        '[modality.audio]\nkind = "features"\nwidth = 3\nroute = "side"\nmissing = "zero"\n'
        '[adapter.fuse]\nkind = "gmu"\nat = ["mlp.out"]\nsides = ["audio"]\n'
        '[data]\nformat = "mosi"\nroot = "mosi"\n'
        '[task.tags]\nkind = "multilabel"\n'
    )
    data = load_data(load_recipe(tmp_path / "r.toml"))
    assert data.labels == {"tags": ("a", "b")}
    assert data.splits["train"][0].inputs["words"] == "train 0"
    assert data.splits["train"][1].inputs["audio"] is None
    assert list(data.targets("test", "tags")) == [[], ["b"], ["b", "a"]]
    assert data.hash == load_data(load_recipe(tmp_path / "r.toml")).hash
