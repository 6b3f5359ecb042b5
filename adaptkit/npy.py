"""Reading .npy and .npz files, whose headers are Python literals that anybody may have written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, cast
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.lib import format as npy_format


@contextmanager
def header_errors() -> Iterator[None]:
    """ValueError for whatever numpy's reading of a header raises besides it."""
    try:
        yield
    except (TokenError, SyntaxError, TypeError, KeyError, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(f"its header cannot be read ({type(error).__name__})") from error


def mapped(path: str | Path) -> Any:
    """The array, memory-mapped, or what else numpy finds there.

    Raises:
        OSError, ValueError, EOFError: it cannot be read, or is a pickle, which could run code.
    """
    with header_errors():
        return np.load(path, mmap_mode="r", allow_pickle=False)


class Npz:
    """The arrays of an .npz file, read one at a time; none of them may be a pickle.

    Args:
        path: of the file.

    Raises:
        OSError, ValueError, EOFError: it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        with _zip_errors():
            self._archive = ZipFile(path)
        self.keys = [name.removesuffix(".npy") for name in self._archive.namelist()]

    def __enter__(self) -> Npz:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def shape(self, key: str) -> tuple[int, ...]:
        """From the header alone: what is packed small may be large."""
        with _zip_errors(), self._archive.open(f"{key}.npy") as member:
            return _header(cast(BinaryIO, member))[0]

    def array(self, key: str) -> np.ndarray:
        """The array of this name.

        Raises:
            ValueError: as the class, or it holds Python objects.
        """
        with _zip_errors(), self._archive.open(f"{key}.npy") as member:
            shape, fortran, dtype = _header(cast(BinaryIO, member))
            if dtype.hasobject:
                raise ValueError("it holds Python objects, which are a pickle")
            content = member.read(prod(shape) * dtype.itemsize)
        return np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if fortran else "C")


@contextmanager
def _zip_errors() -> Iterator[None]:
    try:
        with header_errors():
            yield
    except (BadZipFile, ZlibError, NotImplementedError, RuntimeError) as error:  # cut off, encrypted, packed otherwise
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy_format.read_magic(file)
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    return read(file)
