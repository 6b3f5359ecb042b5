"""What the importers share: pictures and other files that are checked, paths that stay inside, drawn splits."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptkit.benchmarks.sources import (
    CheckedFiles,
    drawn,
    json_lines,
    named_path,
    picture_fault,
    read_json,
)
from adaptkit.errors import DataError


class Notes:
    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def note(self, text: str, count: int = 1) -> None:
        self.found[text] += count


def jpeg(path: Path, side: int = 200) -> Path:
    values = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(values).save(path, format="JPEG")
    return path


def test_good_pictures_have_no_fault(tmp_path: Path) -> None:
    assert picture_fault(jpeg(tmp_path / "a.jpg")) == ""
    Image.new("RGBA", (3, 3)).save(tmp_path / "b.jpg", format="PNG")  # a PNG called .jpg is still a picture
    assert picture_fault(tmp_path / "b.jpg") == ""


def test_a_picture_that_is_cut_off_is_told(tmp_path: Path) -> None:
    path = jpeg(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "truncated" in picture_fault(path)


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert picture_fault(tmp_path / "a.jpg")


def test_a_decompression_bomb_is_told_and_not_unpacked(tmp_path: Path) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(png)
    assert picture_fault(tmp_path / "bomb.png") == "far too many pixels"


def test_each_file_is_checked_once(tmp_path: Path) -> None:
    asked = []
    path = jpeg(tmp_path / "a.jpg")
    files = CheckedFiles(tmp_path, "image", Notes(), lambda file: asked.append(file) or "")
    assert files.path(path) == files.path(path) == "a.jpg"
    assert asked == [path]


def test_five_percent_may_be_broken(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.jpg").write_text("bad" if number < 2 else "good")
    notes = Notes()
    files = CheckedFiles(tmp_path, "image", notes, lambda file: "bad" if file.read_text() == "bad" else "")
    found = [files.path(tmp_path / f"{number}.jpg") for number in range(40)]
    files.finish()
    assert found[:3] == [None, None, "2.jpg"]
    assert notes.found == {"image: broken pictures count as absent, such as 0.jpg, 1.jpg": 2}
    (tmp_path / "40.jpg").write_text("bad")
    assert files.path(tmp_path / "40.jpg") is None
    with pytest.raises(DataError, match=r"3 of 41 pictures are broken \(bad\): 0\.jpg, 1\.jpg, 40\.jpg"):
        files.finish()


@pytest.mark.parametrize("relative", ["../x", "/etc/passwd", "a/../../x", "..\\x", "a\0b", "", None, 3])
def test_a_path_that_leaves_the_root_is_an_error(tmp_path: Path, relative: object) -> None:
    with pytest.raises(DataError):
        named_path(tmp_path, relative, "here")


def test_a_path_inside_the_root_need_not_exist(tmp_path: Path) -> None:
    assert named_path(tmp_path, "a/../b/c.jpg", "here") == tmp_path / "b" / "c.jpg"


def test_json_errors_name_the_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\ufeff{"a": 1}\n\n[1]\n')
    rows = json_lines(path)
    assert next(rows) == ("a.jsonl:1", {"a": 1})
    with pytest.raises(DataError, match=r"a\.jsonl:3.*list"):
        next(rows)
    path.write_text('{"a": 1')
    with pytest.raises(DataError, match=r"a\.jsonl:1.*not JSON"):
        next(json_lines(path))
    with pytest.raises(DataError, match="not JSON"):
        read_json(path)
    path.write_text("[" * 200_000)
    with pytest.raises(DataError, match="not JSON"):
        read_json(path)
    with pytest.raises(DataError, match="does not exist"):
        read_json(tmp_path / "b.json")


@pytest.mark.parametrize("seed", [0, 1])
def test_a_draw_takes_the_same_share_of_each_label(seed: int) -> None:
    labels = ["a"] * 100 + ["b"] * 50 + ["c"] * 10 + ["d"]
    chosen = drawn(labels, 16, seed)
    assert Counter(labels[i] for i in chosen) == {"a": 10, "b": 5, "c": 1}
    assert chosen == drawn(labels, 16, seed)
    assert chosen != drawn(labels, 16, seed + 7)


def test_a_draw_never_empties_a_label() -> None:
    labels = ["a", "b", "b", "c", "c", "c"]
    chosen = drawn(labels, 3, 0)
    assert {labels[i] for i in range(6) if i not in chosen} == {"a", "b", "c"}
