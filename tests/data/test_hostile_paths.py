"""Whatever data says, nothing outside its folder is read: one secret file, and every way that leads to it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from adaptkit.benchmarks.benchmark import import_benchmark
from adaptkit.benchmarks.table import BenchmarkTable
from adaptkit.data.checking import check_sources, check_store
from adaptkit.data.rows import FORMATS, Column
from adaptkit.data.store import StoreWriter, find_store, open_store
from adaptkit.data.store_writer import seal
from adaptkit.errors import DataError
from adaptkit.formats.tables import Csv, HuggingFace, Jsonl, Parquet
from adaptkit.modalities.arrays import read_array
from adaptkit.modalities.audio.waveform import read_waveform
from adaptkit.modalities.pixels import read_image
from adaptkit.modalities.video.frames import read_frames
from adaptkit.recipe import cells

SPLITS = ("train", "validation", "test")
VIDEO = cells.CellForm("file", folders=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The data folder, beside a folder with a secret picture, sound and array."""
    secret = tmp_path / "secret"
    secret.mkdir()
    Image.new("L", (2, 2), 255).save(secret / "s.png")
    np.save(secret / "s.npy", np.ones(4, np.float32))
    (secret / "train.jsonl").write_text('{"x": "secret"}\n')
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def read_cell(root: Path, cell: Any, form: cells.CellForm, *, format: str = "jsonl") -> Any:
    """The value of a cell as samples have it, by way of a file of this format."""
    for split in SPLITS:
        if format == "jsonl":
            (root / f"{split}.jsonl").write_text(json.dumps({"x": cell}) + "\n")
        elif format == "csv":
            text = cell if isinstance(cell, str) else json.dumps(cell)
            (root / f"{split}.csv").write_text('x\n"' + text.replace('"', '""') + '"\n')
        else:
            pq.write_table(pa.table({"x": [cell]}), root / f"{split}.parquet")
    table = {"jsonl": Jsonl, "csv": Csv, "parquet": Parquet}[format](format=format, root=str(root))
    return FORMATS[format](table, Path(), (Column("x", form),)).splits["train"][0].values["x"]


def reads(value: Any) -> dict[str, Any]:
    """What every reader makes of a value that a format let through."""
    readers = {
        "image": lambda: read_image(value, 1, None, name="x", where="here"),
        "array": lambda: read_array(value, name="x", where="here") if isinstance(value, str | Path) else None,
        "sound": lambda: read_waveform(value, 16000, None, "first", name="x", where="here"),
        "video": lambda: read_frames(value, 2, "first", name="x", where="here"),
    }
    found = {}
    for name, read in readers.items():
        try:
            found[name] = read()
        except DataError:
            found[name] = None
    return found


def ways(secret: str) -> list[Any]:
    """Every place of a cell that could be taken for a path."""
    return [
        secret,
        f"../secret/{Path(secret).name}",
        f"file://{secret}",
        f"{secret}::key",
        f"concat:{secret}",
        {"bytes": secret},
        {"bytes": secret, "path": None},
        {"bytes": None, "path": secret},
        {"path": secret},
        {"array": secret},
        {"array": [secret], "sampling_rate": 16000},
        {"bytes": {"path": secret}},
        {"path": {"path": secret}},
        {"path": [secret]},
        [secret],
        [{"path": secret}],
    ]


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("way", range(16))
@pytest.mark.parametrize("file", ["s.png", "s.npy"])
def test_no_cell_reads_a_file_outside_the_root(root: Path, format: str, way: int, file: str) -> None:
    cell = ways(str(root.parent / "secret" / file))[way]
    for form in (cells.FILE, cells.ARRAY, VIDEO):
        try:
            value = read_cell(root, cell, form, format=format)
        except DataError:
            continue
        assert not any(found is not None for found in reads(value).values()), value


def test_text_in_place_of_bytes_is_refused_by_the_readers_too(root: Path) -> None:
    secret = str(root.parent / "secret" / "s.png")
    for read in (
        lambda: read_image({"bytes": secret}, 1, None, name="x", where="here"),
        lambda: read_waveform({"bytes": secret}, 16000, None, "first", name="x", where="here"),
    ):
        with pytest.raises(DataError, match=r"x\.bytes is of type str"):
            read()


def test_a_frame_that_is_a_link_out_of_the_root(root: Path) -> None:
    frames = root / "frames"
    frames.mkdir()
    Image.new("L", (2, 2)).save(frames / "1.png")
    (frames / "2.png").symlink_to(root.parent / "secret" / "s.png")
    with pytest.raises(DataError, match=r"2\.png in it is a link that leaves the data folder"):
        read_cell(root, "frames", VIDEO)
    (frames / "2.png").unlink()
    Image.new("L", (2, 2)).save(root / "shared.png")
    (frames / "2.png").symlink_to(root / "shared.png")
    assert len(read_frames(read_cell(root, "frames", VIDEO), None, "first", name="x", where="")) == 2
    os.mkfifo(frames / "3.png")  # reading it would wait for ever
    with pytest.raises(DataError, match="neither a file nor a folder"):
        read_cell(root, "frames", VIDEO)


@pytest.mark.parametrize("format", [Jsonl, Csv, Parquet, HuggingFace])
def test_a_manifest_that_is_a_link_out_of_the_root(root: Path, format: Any) -> None:
    data = format(format="x", root=str(root))
    for split in SPLITS:
        (root / getattr(data, split)).symlink_to(root.parent / "secret" / "train.jsonl")
    read = FORMATS[{Jsonl: "jsonl", Csv: "csv", Parquet: "parquet", HuggingFace: "hf"}[format]]
    with pytest.raises(
        DataError, match=r"data\.train  train.* is a link that leaves the data folder .* recipe: data\.train"
    ):
        read(data, Path(), (Column("x", cells.TEXT),))


def test_the_recipe_itself_may_name_a_manifest_anywhere(root: Path) -> None:
    named = dict.fromkeys(SPLITS, "../secret/train.jsonl")
    data = Jsonl(format="jsonl", root=str(root), **named)
    assert FORMATS["jsonl"](data, Path(), (Column("x", cells.TEXT),)).splits["train"][0].values["x"] == "secret"
    os.mkfifo(root / "pipe.jsonl")
    with pytest.raises(DataError, match=r"data\.train .*neither a file nor a folder"):
        FORMATS["jsonl"](data.model_copy(update={"train": "pipe.jsonl"}), Path(), (Column("x", cells.TEXT),))


def store_of(root: Path) -> Path:
    Image.new("L", (2, 2)).save(root / "a.png")
    with StoreWriter(root / "adaptkit", format="food101", root=root) as writer:
        writer.column("image", "path")
        writer.column("vector", "features")
        for split in SPLITS:
            writer.add(split, split, {"image": "a.png", "vector": np.ones(2)})
    return root / "adaptkit"


@pytest.mark.parametrize("claimed", ["/", "../..", "../../secret"])
def test_a_store_that_claims_another_root(root: Path, claimed: str) -> None:
    meta = store_of(root) / "meta.json"
    content = {**json.loads(meta.read_text()), "root": claimed, "sources": {"etc": "sha256:0"}}
    meta.write_text(json.dumps({**content, "sha256": seal(content)}))
    data = BenchmarkTable(format="food101", root=str(root))
    with pytest.raises(DataError, match=r"the paths of the store start from .*, outside .*data\.download"):
        FORMATS["food101"](data, Path(), (Column("image", cells.FILE),))
    assert len(FORMATS["food101"](data, Path(), (Column("vector", cells.ARRAY),)).splits["train"]) == 1
    assert "are not looked at" in check_store(find_store(root, "food101")).warnings[-1]


def test_sources_and_files_of_a_store_that_lie_elsewhere(root: Path) -> None:
    told = check_sources({}, root, {"../secret/s.png": "sha256:0", "/etc/hostname": "sha256:0"})
    assert [text.rpartition("lies outside")[2] for text in told] == [f" {root} and is not compared."] * 2
    folder = store_of(root)
    for name in ("train.parquet", "features/vector.train.safetensors"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        (root.parent / "secret" / "copy").write_bytes(content)
        (folder / name).symlink_to(root.parent / "secret" / "copy")
        with pytest.raises(DataError, match="leaves the data folder"):
            open_store(folder).rows("train")
        (folder / name).unlink()
        (folder / name).write_bytes(content)


def test_an_import_refuses_a_download_with_links_out_of_it(root: Path) -> None:
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "link").symlink_to(root.parent / "secret")
    with pytest.raises(DataError, match=r"link is a link that leaves the data folder .*Copy what it points to"):
        import_benchmark("food101", root)
    (root / "deep" / "er" / "link").unlink()
    os.mkfifo(root / "deep" / "pipe")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        import_benchmark("food101", root)


def test_an_array_may_lie_in_a_group_and_in_a_folder_with_colons(root: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (root / "a::b").mkdir()
    with h5py.File(root / "a::b" / "x.h5", "w") as file:
        file["group/one"] = np.arange(3)
    np.save(root / "a::b" / "y.npy", np.arange(4))
    inner = root / "a::b"
    assert read_array(read_cell(inner, "x.h5::group/one", cells.ARRAY), name="x", where="").tolist() == [0, 1, 2]
    assert read_array(read_cell(inner, "y.npy", cells.ARRAY), name="x", where="").tolist() == [0, 1, 2, 3]


def test_an_hdf5_file_whose_soft_link_goes_through_an_external_one(root: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(root.parent / "secret" / "s.h5", "w") as file:
        file["group/secret"] = np.ones(3)
    with h5py.File(root / "x.h5", "w") as file:
        file["door"] = h5py.ExternalLink(str(root.parent / "secret" / "s.h5"), "/group")
        file["innocent"] = h5py.SoftLink("/door/secret")
    with pytest.raises(DataError, match="in another file"):
        read_array(root / "x.h5::innocent", name="x", where="")


def test_a_video_that_is_a_playlist_of_files_elsewhere(root: Path) -> None:
    av = pytest.importorskip("av")
    path = root.parent / "secret" / "s.ts"
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9.0,\n{path}\n#EXT-X-ENDLIST\n"
    (root / "hls.m3u8").write_text(playlist)
    (root / "near.ts").symlink_to(path)
    (root / "concat.mp4").write_text("ffconcat version 1.0\nfile near.ts\n")
    for name in ("hls.m3u8", "concat.mp4"):
        with av.open(str(root / name)) as opened:  # so it would be read
            assert opened.format.name in ("hls", "concat")
        with pytest.raises(DataError, match="not a readable video"):
            read_frames(root / name, 2, "even", name="x", where="here")


def test_a_postscript_picture_is_not_handed_to_an_interpreter(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "EPS")
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/executed\n")
    (tmp_path / "gs").chmod(0o755)
    (tmp_path / "x.eps").write_bytes(content.getvalue())
    script = f"""
from adaptkit.modalities.pixels import read_image
for value in ({str(tmp_path / "x.eps")!r}, open({str(tmp_path / "x.eps")!r}, "rb").read()):
    try:
        read_image(value, 3, None, name="x", where="here")
    except Exception as error:
        print(type(error).__name__, error)
"""
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.count("DataError here  x: ") == 2
    assert not (tmp_path / "executed").exists()
