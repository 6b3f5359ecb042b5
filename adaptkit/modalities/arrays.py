"""Arrays of numbers from files: .npy, .npz, .safetensors and HDF5. Nothing here can run code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.data.paths import ArrayPath
from adaptkit.errors import DataError, UnavailableError
from adaptkit.hdf5 import is_elsewhere, leaves
from adaptkit.npy import Npz, mapped

HDF5 = (".h5", ".hdf5")
LARGEST = 2**25  # numbers of one sample, 128 MiB: more is a mistake, or an attack by a small compressed file


def read_array(path: str | Path | ArrayPath, *, name: str, where: str) -> np.ndarray:
    """The array in a file, as float32.

    Args:
        path: `a.npy`, `a.npz`, `a.safetensors` or `a.h5`; of several arrays in a file, `a.h5::key` is one of them and
            `a.h5::key[12]` its row 12.
        name: of the modality.
        where: place of the value, for errors.

    Raises:
        DataError: the file is not there, is not what its name says, is cut off, or holds no numbers.
        UnavailableError: HDF5 without h5py.
    """
    file, key, row = _parts(path)
    with _told(file, key, row, name, where):
        array = _read(file, key, row, name, where)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise DataError(f"{name}: {file} does not hold one array of numbers.", where=where)
    return array.astype(np.float32)


def array_length(path: str | Path | ArrayPath, *, name: str, where: str) -> int:
    """How many vectors there are, 1 of a vector, whatever their order, without reading the numbers.

    Raises:
        DataError: as `read_array`.
    """
    return prod(array_shape(path, name=name, where=where)[:-1])


def array_shape(path: str | Path | ArrayPath, *, name: str, where: str) -> tuple[int, ...]:
    """Its shape, from the header of its file.

    Raises:
        DataError: as `read_array`, as far as a header can tell.
    """
    file, key, row = _parts(path)
    with _told(file, key, row, name, where):
        return tuple(map(int, _read(file, key, row, name, where, only_shape=True)))


@contextmanager
def _told(file: str, key: str | None, row: int | None, name: str, where: str) -> Iterator[None]:
    """Every error of reading a file, as what the user can do something about."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{name}: the file {file} does not exist.", where=where) from None
    except KeyError as error:
        raise DataError(f"{name}: {file} has no array {error.args[0]}.", where=where) from None
    except IndexError:
        raise DataError(f"{name}: {file} has no row {row} of {key}.", where=where) from None
    except (OSError, ValueError, EOFError, TypeError) as error:
        kind = Path(file).suffix or ".npy"
        raise DataError(f"{name}: {file} is not a readable {kind} array: {error}.", where=where) from None


def _parts(path: str | Path | ArrayPath) -> tuple[str, str | None, int | None]:
    """`a.h5::key[12]` -> ("a.h5", "key", 12)."""
    if isinstance(path, ArrayPath):
        file, rest = str(path.file), path.key
    else:
        file, separator, rest = str(path).partition("::")
        if not separator or Path(path).exists():  # a folder's name may have colons, too
            return str(path), None, None
    found = re.fullmatch(r"(.*?)\[(\d{1,18})\]", rest)
    return (file, found[1], int(found[2])) if found else (file, rest, None)


def _read(file: str, key: str | None, row: int | None, name: str, where: str, *, only_shape: bool = False) -> Any:
    """The array, or its shape."""
    suffix = Path(file).suffix
    if suffix == ".safetensors":
        return _from_safetensors(file, key, row, only_shape)
    if suffix in HDF5:
        return _from_hdf5(file, key, row, name, where, only_shape)
    if suffix == ".npz":
        return _from_npz(file, key, row, only_shape)
    array = mapped(file)
    if only_shape:
        return array.shape
    return np.array(array) if isinstance(array, np.ndarray) and _fits(array.shape) else array


def _from_npz(file: str, key: str | None, row: int | None, only_shape: bool) -> Any:
    with Npz(file) as opened:
        chosen = _one_of(opened.keys, key)
        shape = opened.shape(chosen)
        if row is not None and (not shape or row >= shape[0]):
            raise IndexError(row)
        if only_shape:
            return shape if row is None else shape[1:]
        _fits(shape)  # all of it is unpacked, whatever is kept
        return opened.array(chosen) if row is None else opened.array(chosen)[row]


def _fits(shape: tuple[int, ...]) -> bool:
    """True; raises ValueError for more numbers than a sample can have."""
    if prod(shape) > LARGEST:
        raise ValueError(f"it has the shape {shape}, more than {LARGEST:,} numbers for one sample")
    return True


def _from_safetensors(file: str, key: str | None, row: int | None, only_shape: bool) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:  # numpy has no bfloat16
            chosen = _one_of(list(opened.keys()), key)
            part = opened.get_slice(chosen)
            if only_shape:
                return part.get_shape() if row is None else part.get_shape()[1:]
            if row is None and _fits(tuple(part.get_shape())):
                return opened.get_tensor(chosen).float().numpy()
            if row is None or row >= part.get_shape()[0]:
                raise IndexError(row)
            return part[row : row + 1][0].float().numpy()
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _from_hdf5(file: str, key: str | None, row: int | None, name: str, where: str, only_shape: bool) -> Any:
    try:
        import h5py
    except ImportError:
        hint = 'Run pip install "adaptkit[hdf5]".'
        raise UnavailableError(f"{name}: reading {file} needs h5py.", where=where, hint=hint) from None
    with h5py.File(file, "r") as opened:
        arrays = [key] if key is not None and key in opened else []
        if not arrays:
            opened.visititems(lambda key, item: arrays.append(key) if isinstance(item, h5py.Dataset) else None)
        found = _one_of(arrays, key)
        if leaves(opened, found):
            raise ValueError(f"{found} is a link into another file")
        dataset: Any = opened[found]
        if not isinstance(dataset, h5py.Dataset):
            raise KeyError(key)
        if is_elsewhere(dataset, opened):
            raise ValueError(f"{found} lies in another file")
        if row is not None and (not dataset.shape or row >= dataset.shape[0]):
            raise IndexError(row)
        shape = dataset.shape if row is None else dataset.shape[1:]
        if only_shape:
            return shape
        _fits(shape)
        return np.asarray(dataset[()] if row is None else dataset[row])


def _one_of(arrays: list[str], key: str | None) -> str:
    if key is None and len(arrays) == 1:
        return arrays[0]
    if key is None:
        listed = ", ".join(sorted(arrays)[:5])
        raise ValueError(f"it holds {len(arrays)} arrays ({listed}); name one of them: FILE::NAME")
    if key not in arrays:
        raise KeyError(key)
    return key


def finite(array: np.ndarray, name: str, where: str) -> np.ndarray:
    """The array itself. Raises DataError where it holds NaN or infinity: how many, and where the first one is."""
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise DataError(
            f"{name} has {len(bad)} values that are NaN or infinite, the first at {tuple(bad[0].tolist())}.",
            where=where,
        )
    return array


def kept(length: int, limit: int | None, keep: str) -> np.ndarray:
    """Which of `length` tokens survive a limit: increasing indices, at most `limit` of them.

    Args:
        keep: "first", "last", "middle", or "even": the middles of `limit` equal parts.
    """
    if limit is None or length <= limit:
        return np.arange(length)
    if keep == "even":
        return ((np.arange(limit) + 0.5) * length / limit).astype(np.int64)
    start = {"first": 0, "last": length - limit, "middle": (length - limit) // 2}[keep]
    return np.arange(start, start + limit)
