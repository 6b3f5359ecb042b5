"""Pickles from strangers: arrays and plain containers come out, and nothing of what else they ask for happens."""

from __future__ import annotations

import collections
import datetime
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptkit.data import pickle_scan
from adaptkit.data.unpickling import load_array, load_pickle
from adaptkit.errors import DataError


def written(folder: Path, value: Any, protocol: int = 4) -> Path:
    path = folder / "data.pkl"
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol=protocol))
    return path


def refused(folder: Path, value: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load_pickle(written(folder, value))
    assert message in str(caught.value)
    assert caught.value.problems[0].where == str(folder / "data.pkl")


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def same(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray):
        equal = left.shape == right.shape and left.dtype == right.dtype and type(right) is np.ndarray
        return equal and all(same(a, b) for a, b in zip(left.ravel().tolist(), right.ravel().tolist(), strict=True))
    if isinstance(left, dict):
        return type(left) is type(right) and list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return type(left) is type(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return type(left) is type(right) and left == right


VALUES = {
    "arrays": {
        "f4": np.arange(12, dtype=np.float32).reshape(3, 4),
        "big": np.arange(4, dtype=">f8"),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "text": np.array(["a", "bcd"]),
        "bytes": np.array([b"a", b"bcd"]),
        "bool": np.array([True, False]),
        "empty": np.zeros((0, 5), np.float32),
        "scalar": np.float64(2.5),
        "zero-dimensional": np.array(3.0),
    },
    "objects": np.array([["a", [1, 2]], [None, {"k": np.zeros(2)}]], dtype=object),
    "containers": [1, -(2**70), 2.5, True, None, "é", b"\xff", (1, (2,)), {3}, frozenset({4}), bytearray(b"x"), 1j],
    "dicts": {"o": collections.OrderedDict(a=[1]), "c": collections.Counter("aab"), (1, "k"): {}},
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", VALUES)
def test_what_data_sets_hold_comes_out_as_it_went_in(tmp_path: Path, name: str, protocol: int) -> None:
    assert same(VALUES[name], load_pickle(written(tmp_path, VALUES[name], protocol)))


def test_arrays_of_old_pythons_come_out_as_well(tmp_path: Path) -> None:
    # Written by Python 2 with numpy: module numpy.core, raw data as an 8-bit string.
    old = (
        b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\nS'b'\np3\ntp4\nRp5\n"
        b"(I1\n(I2\ntp6\ncnumpy\ndtype\np7\n(S'f4'\np8\nI0\nI1\ntp9\nRp10\n(I3\nS'<'\np11\nNNNI-1\nI-1\nI0\ntp12\nb"
        b"I00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00@'\np13\ntp14\nb."
    )
    assert same(np.array([1, 2], np.float32), load_pickle(written(tmp_path, old)))
    assert same(np.array([1, 2], np.float32), load_pickle(written(tmp_path, old), encoding="bytes"))


def test_shared_and_circular_containers_stay_shared(tmp_path: Path) -> None:
    array, loop = np.zeros(3), []
    loop.append(loop)
    back = load_pickle(written(tmp_path, {"a": array, "b": array, "loop": loop}))
    assert back["a"] is back["b"]
    assert back["loop"][0] is back["loop"]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Calls(os.system, "touch HERE"), f"{os.name}.system"),
        (Calls(eval, "open('HERE', 'w')"), "builtins.eval"),
        (Calls(getattr, "os", "system"), "builtins.getattr"),
        (Calls(open, "HERE", "w"), "io.open"),
        (Calls(np.load, "HERE"), "numpy.load"),
        (datetime.date(2020, 1, 1), "datetime.date"),
        (Path("x"), "pathlib"),
        (np.array([Calls(os.system, "touch HERE")], dtype=object), f"{os.name}.system"),
        (collections.Counter(a=Calls(os.system, "touch HERE")), f"{os.name}.system"),
        (np.dtype([("a", "f4")]), "the array type"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "the array type"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_everything_else_is_refused_by_name_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(tmp_path, value, name)
    assert [path.name for path in tmp_path.iterdir()] == ["data.pkl"]


def test_the_stand_ins_cannot_be_changed_or_used_as_codecs(tmp_path: Path) -> None:
    # BUILD with a state of attributes on what GLOBAL returned.
    refused(tmp_path, b"cnumpy\ndtype\n}S'_call'\nNsb.", "a change of a function")
    refused(tmp_path, b"ccollections\nCounter\n(N}S'update'\nNstb.", "a change of a function")
    refused(tmp_path, b"c_codecs\nencode\n(S'x'\nS'zlib_codec'\ntR.", "_codecs.encode to 'zlib_codec'")
    refused(tmp_path, b"cnumpy\nndarray\n.", "an object of type _StandIn")
    refused(tmp_path, b"}cnumpy\nndarray\nNs.", "a key of type _StandIn")


def test_a_forged_array_type_cannot_turn_bytes_into_pointers(tmp_path: Path) -> None:
    # dtype('O') whose flags claim that it holds no references, then an array of eight raw bytes.
    forged = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I1\ntcnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI8\nI8\nI0\ntb"
        b"I00\nS'AAAAAAAA'\ntb."
    )
    refused(tmp_path, forged, "an array of pointers")


def test_sizes_are_what_the_file_holds(tmp_path: Path) -> None:
    huge = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I1000000000000\ntcnumpy\ndtype\n(S'f8'\nI0\nI1\ntRI00\nS'AAAAAAAA'\ntb."
    )
    refused(tmp_path, huge, "is not a readable pickle")
    refused(tmp_path, b"\x8e" + struct.pack("<Q", 1 << 50) + b"abc.", "truncated")
    refused(tmp_path, b"\x80\x04\x95" + struct.pack("<Q", 1 << 50) + b"N.", "truncated")
    refused(tmp_path, b"Nr" + struct.pack("<I", 1 << 31) + b".", "LONG_BINPUT with a number")
    refused(tmp_path, b"Np" + b"9" * 30 + b"\n.", "PUT with a number")
    refused(tmp_path, pickle.dumps(np.arange(1000))[:-100], "truncated")
    refused(tmp_path, b"", "empty")
    refused(tmp_path, b"this is not a pickle", "is not a pickle")


def test_bombs_are_refused_before_they_go_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(tmp_path, b"]" * 60 + b"a" * 59 + b".", "deeper than 50")
    doubled = b"]q\x00" + b"".join(b"](h" + bytes([n]) + b"h" + bytes([n]) + b"eq" + bytes([n + 1]) for n in range(40))
    assert len(load_pickle(written(tmp_path, doubled + b"."))) == 2  # shared: 41 lists, visited once each
    path = written(tmp_path, {"a": 1})
    with pytest.raises(DataError, match="at most 3 are read"):
        load_pickle(path, limit=3)
    monkeypatch.setattr(pickle_scan, "OPCODES", 1000)
    refused(tmp_path, b"]" + b"N0" * 2000 + b".", "more than 1,000 instructions")


@pytest.mark.parametrize("name", ["PERSID", "EXT1"])
def test_doors_to_other_places_are_shut(tmp_path: Path, name: str) -> None:
    refused(tmp_path, {"PERSID": b"Px\n.", "EXT1": b"\x82\x01."}[name], name)


def test_archives_are_not_unpacked(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", b"\0" * 1_000_000)
    refused(tmp_path, content.getvalue(), "is a zip archive, not a pickle. Unpack it first")
    refused(tmp_path, b"\x1f\x8b\x08\x00" + b"\0" * 20, "is a gzip archive")


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.pkl"):
        load_pickle(tmp_path / "nowhere.pkl")


def test_npy_files_of_numbers_and_of_objects(tmp_path: Path) -> None:
    numbers, objects = np.arange(6.0).reshape(2, 3), np.array([[1, "a"], [None, 2.5]], dtype=object)
    np.save(tmp_path / "n.npy", numbers)
    np.save(tmp_path / "o.npy", objects)
    assert np.array_equal(load_array(tmp_path / "n.npy"), numbers)
    assert same(objects, load_array(tmp_path / "o.npy"))
    evil = np.empty(1, dtype=object)
    evil[0] = Calls(os.system, f"touch {tmp_path / 'here'}")
    np.save(tmp_path / "evil.npy", evil)
    with pytest.raises(DataError, match=r"evil\.npy.*system, which is refused"):
        load_array(tmp_path / "evil.npy")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "n.npy").read_bytes()[:-8])
    for name in ("cut.npy", "none.npy"):
        with pytest.raises(DataError, match=name):
            load_array(tmp_path / name)
    assert not (tmp_path / "here").exists()
