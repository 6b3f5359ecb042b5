"""Arrays of numbers from files: .npy, .safetensors and HDF5. Nothing here can run code."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.data.paths import ArrayPath
from adaptkit.errors import DataError, UnavailableError
from adaptkit.hdf5 import is_elsewhere, leaves
from adaptkit.npy import mapped

HDF5 = (".h5", ".hdf5")
LARGEST = 2**25  # numbers of one sample, 128 MiB: more is a mistake, or an attack by a small compressed file


def read_array(path: str | Path | ArrayPath, *, name: str, where: str) -> np.ndarray:
    """The array in a file, as float32.

    Args:
        path: `a.npy`, `a.safetensors` or `a.h5`; of several arrays in a file, `a.h5::key` is one of them and
            `a.h5::key[12]` its row 12.
        name: of the modality.
        where: place of the value, for errors.

    Raises:
        DataError: the file is not there, is not what its name says, is cut off, or holds no numbers.
        UnavailableError: HDF5 without h5py.
    """
    file, key, row = _parts(path)
    try:
        array = _read(file, key, row, name, where)
    except FileNotFoundError:
        raise DataError(f"{name}: the file {file} does not exist.", where=where) from None
    except KeyError as error:
        raise DataError(f"{name}: {file} has no array {error.args[0]}.", where=where) from None
    except IndexError:
        raise DataError(f"{name}: {file} has no row {row} of {key}.", where=where) from None
    except (OSError, ValueError, EOFError, TypeError) as error:
        kind = Path(file).suffix or ".npy"
        raise DataError(f"{name}: {file} is not a readable {kind} array: {error}.", where=where) from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise DataError(f"{name}: {file} does not hold one array of numbers.", where=where)
    return array.astype(np.float32)


def array_length(path: str | Path | ArrayPath, *, name: str, where: str) -> int:
    """Length of the first dimension, 1 of a vector; of .npy and HDF5 without reading the numbers.

    Raises:
        DataError: as `read_array`.
    """
    file = _parts(path)[0]
    if Path(file).suffix == ".npy":
        try:
            shape = mapped(file).shape
        except (OSError, ValueError, EOFError):
            shape = read_array(path, name=name, where=where).shape  # for its error
    else:
        shape = read_array(path, name=name, where=where).shape
    return shape[0] if len(shape) > 1 else 1


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


def _read(file: str, key: str | None, row: int | None, name: str, where: str) -> Any:
    suffix = Path(file).suffix
    if suffix == ".safetensors":
        return _from_safetensors(file, key, row)
    if suffix in HDF5:
        return _from_hdf5(file, key, row, name, where)
    array = mapped(file)
    return np.array(array) if isinstance(array, np.ndarray) and _fits(array.shape) else array


def _fits(shape: tuple[int, ...]) -> bool:
    """True; raises ValueError for more numbers than a sample can have."""
    if prod(shape) > LARGEST:
        raise ValueError(f"it has the shape {shape}, more than {LARGEST:,} numbers for one sample")
    return True


def _from_safetensors(file: str, key: str | None, row: int | None) -> np.ndarray:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:  # numpy has no bfloat16
            chosen = _one_of(list(opened.keys()), key)
            part = opened.get_slice(chosen)
            if row is None and _fits(tuple(part.get_shape())):
                return opened.get_tensor(chosen).float().numpy()
            if row is None or row >= part.get_shape()[0]:
                raise IndexError(row)
            return part[row : row + 1][0].float().numpy()
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _from_hdf5(file: str, key: str | None, row: int | None, name: str, where: str) -> Any:
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
        _fits(dataset.shape if row is None else dataset.shape[1:])
        if row is not None and (not dataset.shape or row >= dataset.shape[0]):
            raise IndexError(row)
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
