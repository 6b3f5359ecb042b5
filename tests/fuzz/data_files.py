"""Hostile data files, without end and repeatable: each is refused in words, or read correctly, in little memory.

`hostile_data` makes them, `outcome` says what became of one. `python -m tests.fuzz.data_files COUNT SEED FOLDER` runs
both in a process of its own and prints how often each outcome was, and the peak of its memory in MiB.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from safetensors.numpy import save_file

from adaptkit.data.rows import FORMATS, Column
from adaptkit.errors import AdaptkitError
from adaptkit.formats.tables import Csv, Jsonl, Parquet
from adaptkit.modalities.arrays import read_array
from adaptkit.modalities.audio.waveform import read_waveform
from adaptkit.modalities.pixels import read_image
from adaptkit.modalities.table.cells import category, number
from adaptkit.modalities.video.frames import read_frames
from adaptkit.recipe import cells
from tests.fuzz.campaign import Campaign, Case
from tests.fuzz.limits import peak

SECRET = 0.8125  # every number of what lies outside of the root
SPLITS = ("train", "validation", "test")
TABLES: dict[str, Any] = {"jsonl": Jsonl, "csv": Csv, "parquet": Parquet}
COLUMNS = (
    Column("text", cells.TEXT, required=False),
    Column("file", cells.ARRAY, required=False),
    Column("video", cells.CellForm("file", folders=True), required=False),
    Column("number", cells.VALUE, required=False),
    Column("label", cells.TARGET, required=False),
)
READERS: dict[str, Callable[[Any], Any]] = {
    "image": lambda value: read_image(value, 3, (8, 8), name="x", where="here"),
    "array": lambda value: read_array(value, name="x", where="here"),
    "sound": lambda value: read_waveform(value, 16000, None, "first", name="x", where="here"),
    "video": lambda value: read_frames(value, 2, "even", name="x", where="here"),
    "number": lambda value: number(value, "x", "here"),
    "category": lambda value: category(value, "x", "here"),
}


@dataclass(frozen=True, slots=True)
class Hostile:
    """One hostile data set.

    Attributes:
        what: to repeat it by hand.
        format: how it is stored.
        root: its folder; overwritten by the next one.
    """

    what: str
    format: str
    root: Path


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def hostile_data(scratch: Path, *, count: int, seed: int = 0) -> Iterator[Hostile]:
    """`count` data sets, one after the other in one folder, beside a folder with secrets.

    Cells that name files elsewhere in every form, links, pickles, pictures, sounds and arrays that claim more than they
    hold, numbers of any size, nesting, encodings, cut and overwritten bytes.
    """
    chance, secrets = random.Random(seed), scratch / "secrets"
    secrets.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), int(SECRET * 255)).save(secrets / "s.png")
    np.save(secrets / "s.npy", np.full(9, SECRET, np.float32))
    for index in range(count):
        root, format = scratch / "root", chance.choice(tuple(TABLES))
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        what, row = chance.choice((_escape, _link, _file, _file, _value, _value))(chance, root, secrets)
        _write(root, format, row)
        if chance.random() < 0.3:
            what += f", then {_spoilt(chance, root / f'train.{format}')}"
        yield Hostile(f"{seed}/{index}: {format}, {what}", format, root)


def outcome(hostile: Hostile) -> str:
    """`refused` or `read`.

    Raises:
        AssertionError: something outside was read, or something ran.
        Exception: whatever is no error in words.
    """
    data = TABLES[hostile.format](format=hostile.format, root=str(hostile.root))
    try:
        rows = list(FORMATS[hostile.format](data, Path(), COLUMNS).splits["train"])
    except AdaptkitError:
        rows = []
    read = 0
    for value in (value for row in rows for value in row.values.values() if value is not None):
        for name, reader in READERS.items():
            if name == "array" and not isinstance(value, str | os.PathLike) and not hasattr(value, "key"):
                continue
            if isinstance(value, str) and name not in ("number", "category"):
                continue  # text, which no encoder takes for a path
            try:
                found = reader(value)
            except AdaptkitError:
                continue
            read += 1
            if name in ("image", "array", "sound"):
                numbers = np.asarray(found).ravel()
                assert not len(numbers) or not np.allclose(numbers, SECRET, atol=0.01), hostile.what
    assert not (hostile.root.parent / "executed").exists(), hostile.what
    return "read" if read else "refused"


def _escape(chance: random.Random, root: Path, secrets: Path) -> tuple[str, dict[str, Any]]:
    path = str(secrets / chance.choice(("s.png", "s.npy")))
    name = chance.choice((path, f"../secrets/{Path(path).name}", f"file://{path}", f"{path}::a", f"./x/../..{path}"))
    form = chance.choice(
        ({"bytes": name}, {"path": name}, {"array": name}, {"bytes": None, "path": name}, name, [name])
    )
    return f"a way out {form}", {chance.choice(("file", "video")): form}


def _link(chance: random.Random, root: Path, secrets: Path) -> tuple[str, dict[str, Any]]:
    (root / "frames").mkdir()
    target = chance.choice(
        (secrets / "s.png", secrets, Path("/dev/zero"), Path("/proc/self/environ"), root / "loop.png")
    )
    place = chance.choice(("loop.png", "frames/1.png"))
    (root / place).symlink_to(target)
    return f"a link to {target}", {"file": "loop.png", "video": "frames"}


def _file(chance: random.Random, root: Path, secrets: Path) -> tuple[str, dict[str, Any]]:
    makers = (_pickle, _huge_header, _picture, _sound, _script, _vectors)
    name, content = chance.choice(makers)(chance, root)
    if chance.random() < 0.5:
        content = _cut(chance, content)
    (root / name).write_bytes(content)
    return f"the file {name} of {len(content)} bytes", {"file": name, "video": name}


def _pickle(chance: random.Random, root: Path) -> tuple[str, bytes]:
    content = io.BytesIO()
    if chance.random() < 0.5:
        np.save(content, np.array([Touch(root.parent / "executed")], dtype=object), allow_pickle=True)
    else:
        content.write(pickle.dumps(Touch(root.parent / "executed")))
    return chance.choice(("x.npy", "x.png", "x.safetensors", "x.wav", "x.h5")), content.getvalue()


def _huge_header(chance: random.Random, root: Path) -> tuple[str, bytes]:
    content = io.BytesIO()
    shape = chance.choice(((2**40,), (2**20, 2**20), (0, 2**60), (2**62, 4), (-1,), (True,), ()))
    np.lib.format.write_array_header_1_0(content, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return "x.npy", content.getvalue() + bytes(64)


def _picture(chance: random.Random, root: Path) -> tuple[str, bytes]:
    content, kind = io.BytesIO(), chance.choice(("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "EPS"))
    size = chance.choice(((9, 9), (1, 60_000), (60_000, 1), (3000, 3000))) if kind in ("PNG", "GIF") else (9, 9)
    Image.new("RGB", size).save(content, kind)
    found = bytearray(content.getvalue())
    if kind == "PNG" and chance.random() < 0.5:  # claims other sizes
        found[16:24] = chance.randbytes(8)
    return f"x.{kind.lower()}", bytes(found)


def _sound(chance: random.Random, root: Path) -> tuple[str, bytes]:
    rate, channels = (chance.choice((1, 8000, 2**31 - 1, 0)) for _ in range(2))
    size = chance.choice((100, 2**32 - 1))
    head = b"RIFF" + (36 + size).to_bytes(8, "little")[:4] + b"WAVEfmt \x10\0\0\0\x01\0"
    head += (channels % 65536).to_bytes(2, "little") + rate.to_bytes(4, "little") + bytes(4) + b"\x02\0\x10\0data"
    return "x.wav", head + size.to_bytes(4, "little") + bytes(100)


def _script(chance: random.Random, root: Path) -> tuple[str, bytes]:
    target = root.parent / "secrets" / "s.png"
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9.0,\n{target}\n#EXT-X-ENDLIST\n"
    return chance.choice(
        (
            ("x.m3u8", playlist.encode()),
            ("x.mp4", f"ffconcat version 1.0\nfile {target}\n".encode()),
            ("x.svg", f'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{target}"/></svg>'.encode()),
            ("x.png", f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({target}) run\n".encode()),
        )
    )


def _vectors(chance: random.Random, root: Path) -> tuple[str, bytes]:
    save_file({"a": np.ones(8, np.float32)}, root / "whole.safetensors")
    content = bytearray((root / "whole.safetensors").read_bytes())
    content[chance.randrange(len(content))] = chance.randrange(256)
    return "x.safetensors", bytes(content)


def _value(chance: random.Random, root: Path, secrets: Path) -> tuple[str, dict[str, Any]]:
    nested: Any = 1
    for _ in range(chance.choice((3, 70, 400))):
        nested = [nested]
    odd = (10**400, -(10**30), 1e308, float("nan"), float("inf"), True, None, "", "\0", "a" * 200_000, "\u2028", nested)
    more = ([], {}, [[]], [1, [2]], ["1"], {"array": [1.0], "sampling_rate": 10**12}, {"array": nested}, {"bytes": 3})
    value = chance.choice(odd + more)
    name = chance.choice([column.name for column in COLUMNS])
    return f"{name} = {repr(value)[:60]}", {name: value}


def _write(root: Path, format: str, row: dict[str, Any]) -> None:
    rows = [{column.name: row.get(column.name) for column in COLUMNS}] * 2
    for split in SPLITS:
        path = root / f"{split}.{format}"
        if format == "jsonl":
            path.write_text("".join(json.dumps(each) + "\n" for each in rows))
        elif format == "csv":
            texts = [
                [v if isinstance(v, str) else "" if v is None else json.dumps(v) for v in r.values()] for r in rows
            ]
            lines = [",".join('"' + text.replace('"', '""') + '"' for text in cells) for cells in texts]
            path.write_text("\n".join([",".join(rows[0]), *lines]) + "\n")
        else:
            try:
                pq.write_table(pa.Table.from_pylist(rows), path)
            except (pa.ArrowException, OverflowError, RecursionError, ValueError):  # it has no form for such a value
                path.write_bytes(json.dumps(rows).encode())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _spoilt(chance: random.Random, path: Path) -> str:
    content = path.read_bytes()
    path.write_bytes(_cut(chance, content))
    return "spoilt"


def _cut(chance: random.Random, content: bytes) -> bytes:
    at = chance.randrange(len(content) + 1)
    return chance.choice(
        (
            content[:at],
            content[:at] + chance.randbytes(9) + content[at + 9 :],
            content[:at] + b"\xef\xbb\xbf\xff" + content[at:],
            content.decode("latin1").encode("utf-16"),
            b"",
        )
    )


def tried(seed: str, folder: Path) -> Case:
    (hostile,) = hostile_data(folder / "data", count=1, seed=crc32(seed.encode()))
    try:
        return Case(outcome(hostile))
    except Exception as error:  # an assertion of `outcome`, or anything that is no error of ours
        return Case("fault", f"{hostile.what}: {type(error).__name__}: {error}"[:300])


CAMPAIGNS = (Campaign("data: read", full=500, short=0, try_case=tried),)  # test_data_files.py is its short form


def main(count: int, seed: int, scratch: Path) -> dict[str, float]:
    """Every outcome with its number, and the peak of the memory of this process in MiB."""
    found = Counter[str]()
    for hostile in hostile_data(scratch, count=count, seed=seed):
        try:
            found[outcome(hostile)] += 1
        except BaseException as error:
            error.add_note(hostile.what)
            raise
    return {**found, "peak": peak()}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
