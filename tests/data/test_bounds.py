"""What reading data may take of the memory, measured in a process of its own; and odd bytes in manifests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from adaptkit.data.rows import Column
from adaptkit.errors import DataError
from adaptkit.formats.csv_files import csv_rows
from adaptkit.formats.jsonl import read_manifest
from adaptkit.formats.parquet import parquet_rows
from adaptkit.modalities.audio.waveform import read_waveform
from adaptkit.modalities.pixels import _pixels, _resized, read_image
from adaptkit.recipe import cells

ROOT = Path(__file__).parents[2]
TEXT = Column("x", cells.TEXT)
MEASURED = """
import sys
from pathlib import Path
from tests.fuzz.limits import peak
{imports}
before = peak()
try:
    {work}
except Exception as error:
    print(type(error).__name__, error, file=sys.stderr)
print(peak() - before)
"""


def grows(imports: str, work: str) -> tuple[float, str]:
    """MiB by which the peak of a process rose, and its error."""
    script = MEASURED.format(imports=imports, work=work)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return float(done.stdout), done.stderr


@pytest.mark.parametrize("rate", [10**12, 2**31 - 1, 0, -1, True, "16000", 10**400])
def test_a_sampling_rate_that_no_sound_has_is_refused(rate: Any) -> None:
    with pytest.raises(DataError, match="has the sampling rate"):
        read_waveform({"array": [0.0, 1.0], "sampling_rate": rate}, 16000, None, "first", name="x", where="here")


def test_resampling_takes_no_more_than_the_longest_sound(tmp_path: Path) -> None:
    work = 'read_waveform({"array": [0.0] * 1000, "sampling_rate": 1}, 16000000, None, "first", name="x", where="")'
    grown, error = grows("from adaptkit.modalities.audio.waveform import read_waveform", work)
    assert "x is too long" in error
    assert grown < 200
    with pytest.raises(DataError, match=r"too long.*modality\.x\.seconds"):
        read_waveform({"array": [0.0] * 1000, "sampling_rate": 1}, 10**6, None, "first", name="x", where="")
    assert len(read_waveform({"array": [0.0] * 9, "sampling_rate": 1}, 1000, 1500, "last", name="x", where="")) == 1500


def test_a_large_photograph_is_in_memory_as_bytes_only(tmp_path: Path) -> None:
    Image.new("RGB", (6000, 5000), (10, 20, 30)).save(tmp_path / "large.png")  # as floats 360 MB, and twice that
    work = f'read_image({str(tmp_path / "large.png")!r}, 3, (224, 224), name="x", where="")'
    grown, error = grows("from adaptkit.modalities.pixels import read_image", work)
    assert not error
    assert grown < 260


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_strips_make_what_the_whole_makes(tmp_path: Path, mode: str, channels: int, monkeypatch: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (301, 203, 3), dtype=np.uint8)
    image = Image.fromarray(noise).convert("L" if mode == "I;16" else mode)
    image = Image.fromarray(noise[:, :, 0].astype(np.uint16) * 257) if mode == "I;16" else image
    whole = _resized(_channels(_pixels(image), channels), (64, 48))
    monkeypatch.setattr("adaptkit.modalities.pixels.STRIP", 203 * 7)
    strips = read_image(image, channels, (64, 48), name="x", where="")
    assert np.abs(strips - whole).max() <= 1e-6  # grey is a sum of three, whose order may differ
    if channels == 3:
        assert np.array_equal(strips, whole)


def _channels(image: np.ndarray, channels: int) -> np.ndarray:
    if len(image) == channels:
        return image
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.repeat(image, 3, axis=0) if channels == 3 else np.tensordot(weights, image, axes=1)[None]


def test_a_picture_of_one_column_of_pixels_is_not_blown_up(tmp_path: Path) -> None:
    Image.new("L", (1, 2_000_000)).save(tmp_path / "tall.png")
    with pytest.raises(DataError, match="cannot be resized"):
        read_image(tmp_path / "tall.png", 3, (224, 224), name="x", where="here")


def test_a_parquet_file_of_pictures_is_streamed(tmp_path: Path) -> None:
    cell = np.random.default_rng(0).integers(0, 256, 1_000_000, dtype=np.uint8).tobytes()
    table = pa.table({"x": [cell[n:] for n in range(300)]})  # 300 MB in one row group
    # A page is decoded whole, and by default pyarrow puts up to 1,024 rows into one, whatever their size.
    options: Any = {"use_dictionary": False, "compression": "none", "write_batch_size": 8}
    pq.write_table(table, tmp_path / "a.parquet", **options)
    imports = "from adaptkit.formats.parquet import parquet_rows\nfrom adaptkit.data.rows import Column\n"
    imports += "from adaptkit.recipe import cells"
    work = (
        f"list(parquet_rows(Path({str(tmp_path / 'a.parquet')!r}), Path('/tmp'), (Column('x', cells.FILE),)).rows[:3])"
    )
    grown, error = grows(imports, work)
    assert not error
    assert grown < 150


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'\xef\xbb\xbf{"x": "a"}\n', ""),
        (b'{"x": "caf\xe9"}\n', r"a\.jsonl:1  this is not UTF-8.*iconv -f LATIN1"),
        ('{"x": "a"}\n'.encode("utf-16"), r"a\.jsonl:1  this is not UTF-8.*iconv -f UTF-16"),
        (b'{"x": "a", "x": "b"}\n', r"a\.jsonl:1  the key 'x' is there twice"),
        (b'{"x": "a", "y": {"z": 1, "z": 2}}\n', r"the key 'z' is there twice"),
        (b'{"x": ' + b"[" * 100_000 + b"\n", "a.jsonl:1  this is not JSON"),
        (b'{"x": ' + b"9" * 5000 + b"}\n", "a.jsonl:1  this is not JSON that can be read"),
        (b'{"x": "a"', r"a\.jsonl:1  this is not JSON"),
        (b"", "has no rows"),
        (b"\x00\x00\x00\n", r"a\.jsonl:1  this is not JSON"),
    ],
)
def test_odd_bytes_in_a_manifest(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    if not message:
        assert read_manifest(tmp_path / "a.jsonl", tmp_path, (TEXT,))[0].values["x"] == "a"
        return
    with pytest.raises(DataError, match=message):
        read_manifest(tmp_path / "a.jsonl", tmp_path, (TEXT,))


def test_a_line_without_end_is_not_read_to_its_end(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("adaptkit.formats.jsonl.LONGEST_LINE", 1000)
    monkeypatch.setattr("adaptkit.formats.csv_files.LONGEST_LINE", 1000)
    (tmp_path / "a.jsonl").write_text(json.dumps({"x": "a" * 2000}))
    (tmp_path / "a.csv").write_text("x\n" + "a" * 2000)
    with pytest.raises(DataError, match=r"a\.jsonl:1  the line has more than 1,000 bytes"):
        read_manifest(tmp_path / "a.jsonl", tmp_path, (TEXT,))
    with pytest.raises(DataError, match=r"a\.csv:2  the line has more than 1,000 bytes"):
        csv_rows(tmp_path / "a.csv", tmp_path, (TEXT,))


def test_odd_cells_of_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x\n" + "a" * 200_000 + "\n")
    assert len(csv_rows(path, tmp_path, (TEXT,))[0].values["x"]) == 200_000
    path.write_bytes(b"x\nok\ncaf\xe9\n")
    with pytest.raises(DataError, match=r"a\.csv:3  this is not UTF-8.*iconv -f LATIN1"):
        csv_rows(path, tmp_path, (TEXT,))
    path.write_text(",".join(f"c{n}" for n in range(50_000)) + "\n")
    with pytest.raises(DataError, match=r"no row has the column 'x'.* and 49,900 more"):
        csv_rows(path, tmp_path, (TEXT,))


def test_a_parquet_file_that_is_damaged_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [f"row {n}" * 20 for n in range(20_000)]}), path, row_group_size=5000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"a\.parquet  the file .* is not readable Parquet behind row [\d,]+: "):
        parquet_rows(path, tmp_path, (TEXT,))
