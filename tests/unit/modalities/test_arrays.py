"""Feature files other than .npy: safetensors and HDF5, whole, one of several arrays, or one row."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adaptkit.data.unpickling import load_array
from adaptkit.errors import DataError, UnavailableError
from adaptkit.modalities import arrays
from adaptkit.modalities.arrays import array_length, read_array
from adaptkit.modalities.features.encoder import FeaturesEncoder

A = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.arange(24, dtype=np.float32).reshape(4, 2, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["group/a"] = A
    with h5py.File(tmp_path / "two.hdf5", "w") as file:
        file["a"], file["b"], file["words"] = A.astype(np.float64), B, "no numbers"
    save_file({"a": torch.from_numpy(A).bfloat16()}, tmp_path / "one.safetensors")
    save_file({"a": torch.from_numpy(A), "b": torch.from_numpy(B)}, tmp_path / "two.safetensors")
    np.save(tmp_path / "a.npy", A)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("one.h5", A),
        ("one.h5::group/a", A),
        ("two.hdf5::a", A),
        ("two.hdf5::b[3]", B[3]),
        ("one.safetensors", A),
        ("two.safetensors::b", B),
        ("two.safetensors::b[1]", B[1]),
        ("a.npy", A),
    ],
)
def test_an_array_of_a_file(folder: Path, path: str, expected: np.ndarray) -> None:
    found = read_array(folder / path, name="clip", where="s")
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)
    assert array_length(folder / path, name="clip", where="s") == expected.size // expected.shape[-1]


def test_an_encoder_reads_them(folder: Path) -> None:
    encoder = FeaturesEncoder(3, name="clip")
    assert np.array_equal(encoder.prepare(str(folder / "two.hdf5::b[2]"), "s"), B[2])
    assert encoder.length(folder / "one.safetensors") == 2


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.h5", r"nowhere\.h5 does not exist"),
        ("nowhere.safetensors", r"nowhere\.safetensors does not exist"),
        ("two.hdf5", r"it holds 3 arrays \(a, b, words\); name one of them: FILE::NAME"),
        ("two.safetensors", r"it holds 2 arrays \(a, b\)"),
        ("two.hdf5::c", r"two\.hdf5 has no array c"),
        ("two.safetensors::c", r"two\.safetensors has no array c"),
        ("two.hdf5::b[4]", r"two\.hdf5 has no row 4 of b"),
        ("two.safetensors::b[4]", r"two\.safetensors has no row 4 of b"),
        ("one.h5::group", r"one\.h5 has no array group"),
        ("two.hdf5::words", "does not hold one array of numbers"),
    ],
)
def test_what_is_not_there_is_named(folder: Path, path: str, message: str) -> None:
    with pytest.raises(DataError, match=f"sample 7  clip: .*{message}"):
        read_array(folder / path, name="clip", where="sample 7")


@pytest.mark.parametrize("name", ["two.hdf5", "two.safetensors", "a.npy"])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_a_file_that_is_cut_off_is_refused(folder: Path, name: str, share: float) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=f"{name} is not a readable"):
        read_array(folder / f"{name}{'' if name == 'a.npy' else '::b'}", name="clip", where="s")
    with pytest.raises(DataError, match=f"{name} is not a readable"):
        array_length(folder / f"{name}{'' if name == 'a.npy' else '::b'}", name="clip", where="s")


@pytest.mark.parametrize("path", ["two.hdf5::b", "two.safetensors::b", "a.npy"])
def test_more_numbers_than_a_sample_can_have_are_not_read(
    folder: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small compressed file can hold any number of zeros."""
    monkeypatch.setattr(arrays, "LARGEST", 5)
    with pytest.raises(DataError, match="more than 5 numbers for one sample"):
        read_array(folder / path, name="clip", where="s")


def test_a_bomb_of_zeros_is_not_unpacked(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("a", shape=(2**40, 3), chunks=(2**16, 3), compression="gzip", dtype="f4")
    assert (tmp_path / "bomb.h5").stat().st_size < 10_000
    with pytest.raises(DataError, match=r"bomb\.h5 is not a readable \.h5 array: it has the shape"):
        FeaturesEncoder(3, name="clip").prepare(tmp_path / "bomb.h5", "s")


def test_without_h5py_the_error_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UnavailableError, match=r'pip install "adaptkit\[hdf5\]"'):
        read_array(folder / "one.h5", name="clip", where="s")


def test_an_array_in_another_file_is_not_read(folder: Path) -> None:
    """By a link, as external storage or as a virtual data set: a download could name any file that way."""
    with h5py.File(folder / "elsewhere.h5", "w") as file:
        file["link"] = h5py.ExternalLink("two.hdf5", "a")
        file["group"] = h5py.ExternalLink("one.h5", "group")
        file.create_dataset("raw", (2, 3), "f4", external=[(str(folder / "a.npy"), 0, 24)])
        layout = h5py.VirtualLayout((2, 3), "f8")
        layout[:] = h5py.VirtualSource(str(folder / "two.hdf5"), "a", (2, 3))
        file.create_virtual_dataset("virtual", layout)
    for name in ("link", "group/a", "raw", "virtual"):
        with pytest.raises(DataError, match="another file"):
            read_array(folder / f"elsewhere.h5::{name}", name="trailer", where="train.jsonl:1")


@pytest.mark.parametrize(
    "header", ["{'descr': '<f4',\n", "(" * 90, "{'descr': {}, 'shape': 3}", "{'descr': '<f4'}", "\x00"]
)
def test_a_header_that_is_no_header_is_told(tmp_path: Path, header: str) -> None:
    """numpy reads it as a Python literal, and raises whatever Python's own readers do."""
    text = header.encode().ljust(117) + b"\n"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64))
    with pytest.raises(DataError, match=r"x\.npy"):
        read_array(tmp_path / "x.npy", name="x", where="here")
    with pytest.raises(DataError, match=r"x\.npy"):
        load_array(tmp_path / "x.npy")
