"""Pickles that cannot run code: numpy arrays, plain containers, text, bytes and numbers; the rest is refused by name.

A pickle is a program. Only stand-ins are ever handed to it: arrays are built here from shape, type and bytes that
were checked, so that neither a foreign class nor a forged dtype (whose flags would turn bytes into pointers) gets in.
"""

from __future__ import annotations

import io
import mmap
import pickle
import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.data.pickle_scan import scan
from adaptkit.errors import DataError
from adaptkit.npy import header_errors, mapped

LIMIT = 32 << 30  # bytes; the largest published pickle (CMU-MOSEI, unaligned) has about 14 GB
DEPTH = 50  # containers in containers

_DTYPE = re.compile(r"[<>|=]?([biufc][1-9][0-9]?|[SU][0-9]{1,6}|O[48]?)")  # no fields, dates or raw memory
_LEAVES = (str, bytes, bytearray, bool, int, float, complex, type(None), np.generic)
_UNREADABLE = (pickle.UnpicklingError, EOFError, ArithmeticError, LookupError, AssertionError)


def load_pickle(path: Path, *, encoding: str = "latin1", limit: int = LIMIT) -> Any:
    """What a pickle holds, where that is numpy arrays (read-only), plain containers, text, bytes and numbers.

    Args:
        path: of the file.
        encoding: of the text in pickles of Python 2; "bytes" leaves it as bytes.
        limit: bytes at most.

    Raises:
        DataError: it is missing, truncated, compressed or too large, or holds anything else; nothing of it has run.
    """
    where = str(path)
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size == 0:
                raise DataError("the file is empty.", where=where)
            if size > limit:
                raise DataError(f"a pickle of {size:,} bytes; at most {limit:,} are read.", where=where)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                scan(content, where)
            return _load(file, encoding, where)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}.", where=where) from None


def load_array(path: Path, *, limit: int = LIMIT) -> np.ndarray:
    """The array of an .npy file; one of Python objects is a pickle and goes through the same checks.

    Raises:
        DataError: as `load_pickle`, or it is no .npy file.
    """
    where = str(path)
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            with header_errors():
                shape, fortran, dtype = read(file)
            if not dtype.hasobject:
                return mapped(path)
            if dtype != np.dtype(object) or path.stat().st_size > limit:
                raise DataError(f"an array of {dtype} cannot be read.", where=where)
            content = file.read()
        scan(content, where)
        found = _load(io.BytesIO(content), "latin1", where)
        return np.asarray(found, dtype=object).reshape(shape, order="F" if fortran else "C")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}.", where=where) from None
    except (ValueError, EOFError) as error:
        raise DataError(f"is not a readable .npy array: {error}.", where=where) from None


def _load(file: Any, encoding: str, where: str) -> Any:
    try:
        return _finished(_Unpickler(file, encoding=encoding).load(), {}, 0)
    except _RefusedError as refused:
        raise DataError(
            f"the pickle asks for {refused}, which is refused: a pickle can run code.",
            where=where,
            hint="Only numpy arrays, dicts, lists, tuples, sets, text, bytes and numbers are read. Nothing was run.",
        ) from None
    except DataError as error:
        raise DataError(error.problems[0].message, where=where) from None
    except MemoryError:
        raise DataError("the pickle does not fit into the memory.", where=where) from None
    except (*_UNREADABLE, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"is not a readable pickle: {error}.", where=where) from None


class _RefusedError(Exception):
    """Carries the name of what a pickle asked for."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        key = f"{module.replace('__builtin__', 'builtins').replace('numpy._core', 'numpy.core')}.{name}"
        if key not in _ALLOWED:
            raise _RefusedError(f"{module}.{name}")
        return _ALLOWED[key]


class _StandIn:
    """What a pickle gets in place of a callable: it can be called, and nothing of it can be changed."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise _RefusedError(f"a change of {name}")

    def __setstate__(self, state: Any) -> None:
        raise _RefusedError("a change of a function")


class _DType:
    """A dtype as pickled: its code and byte order; fields, subarrays and flags are refused or ignored."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        code = code.decode("ascii") if isinstance(code, bytes) else code
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise _RefusedError(f"the array type {str(code)[:40]!r}")
        object.__setattr__(self, "dtype", np.dtype("O" if code[:1] == "O" else code))

    def __setattr__(self, name: str, value: Any) -> None:
        raise _RefusedError(f"a change of {name}")

    def __setstate__(self, state: Any) -> None:
        _, order, subarray, names, fields, *_ = state
        order = order.decode("ascii") if isinstance(order, bytes) else order
        if subarray is not None or names or fields or order not in ("<", ">", "|", "="):
            raise _RefusedError("an array type with fields")
        if order in "<>":
            object.__setattr__(self, "dtype", self.dtype.newbyteorder(order))


class _Array:
    """An array while it is being unpickled."""

    __slots__ = ("array",)

    def __init__(self, *ignored: Any) -> None:
        self.array = np.empty(0, dtype=np.uint8)

    def __setstate__(self, state: Any) -> None:
        *_, shape, dtype, fortran, content = state
        self.array = _array(content, dtype, shape, "F" if fortran else "C")


def _array(content: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    if not isinstance(dtype, _DType):
        raise _RefusedError("an array without a type")
    if dtype.dtype.hasobject:
        if not isinstance(content, list):
            raise _RefusedError("an array of pointers")
        flat = np.empty(len(content), dtype=object)
        for index, item in enumerate(content):
            flat[index] = item
    else:
        content = content.encode("latin1") if isinstance(content, str) else content
        flat = np.frombuffer(content, dtype=dtype.dtype) if len(content) else np.empty(0, dtype.dtype)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    found = _Array()
    found.array = _array(content, dtype, shape, order)
    return found


def _scalar(dtype: Any, content: Any = b"") -> Any:
    value = _array([content] if dtype.dtype.hasobject else content, dtype, (1,))
    return value[0]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """`_codecs.encode`, which old protocols use for bytes; the other codecs could unpack a bomb."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _RefusedError(f"_codecs.encode to {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[str, Any] = {
    "numpy.core.multiarray._reconstruct": _StandIn(_Array),
    "numpy.core.multiarray.scalar": _StandIn(_scalar),
    "numpy.core.numeric._frombuffer": _StandIn(_from_buffer),
    "numpy.ndarray": _StandIn(_Array),
    "numpy.dtype": _StandIn(_DType),
    "_codecs.encode": _StandIn(_encode),
    "collections.OrderedDict": _StandIn(OrderedDict),
    "collections.Counter": _StandIn(Counter),
    "builtins.set": _StandIn(set),
    "builtins.frozenset": _StandIn(frozenset),
    "builtins.bytes": _StandIn(lambda *args: bytes(_content(*args))),
    "builtins.bytearray": _StandIn(lambda *args: bytearray(_content(*args))),
    "builtins.complex": _StandIn(lambda real, imaginary=0.0: complex(real, imaginary)),
}


def _content(content: Any = b"", encoding: str = "latin1") -> bytes:
    """The argument of bytes and bytearray: bytes or text, but no number of zeros."""
    if isinstance(content, bytes):
        return content
    return _encode(content, encoding)


def _finished(value: Any, done: dict[int, Any], depth: int) -> Any:
    """The value with real arrays in it, each shared part visited once. `done` keeps what it has seen alive."""
    if isinstance(value, _LEAVES):
        return value
    if id(value) in done:
        return done[id(value)][1]
    if depth > DEPTH:
        raise DataError(f"the pickle nests containers deeper than {DEPTH}.")
    if isinstance(value, _Array):
        done[id(value)] = (value, value.array)
        if value.array.dtype.hasobject:
            flat = value.array.reshape(-1, order="A") if value.array.size else value.array
            for index, item in enumerate(flat.tolist()):
                flat[index] = _finished(item, done, depth + 1)
            value.array = flat.reshape(value.array.shape)
        return value.array
    return _finished_container(value, done, depth)


def _finished_container(value: Any, done: dict[int, Any], depth: int) -> Any:
    if isinstance(value, list):
        done[id(value)] = (value, value)
        for index, item in enumerate(value):
            value[index] = _finished(item, done, depth + 1)
        return value
    if isinstance(value, dict):
        done[id(value)] = (value, value)
        for key, item in value.items():
            _check_key(key)
            value[key] = _finished(item, done, depth + 1)
        return value
    if isinstance(value, _DType):
        return value.dtype
    if isinstance(value, tuple):
        result = tuple(_finished(item, done, depth + 1) for item in value)
        done[id(value)] = (value, result)
        return result
    if isinstance(value, set | frozenset):
        for item in value:
            _check_key(item)
        return value
    raise _RefusedError(f"an object of type {type(value).__name__}")


def _check_key(key: Any) -> None:
    """Keys and members of sets stay as they are, so nothing may be in them that would have to be finished."""
    stack = [key]
    while stack:
        item = stack.pop()
        if isinstance(item, tuple | frozenset):
            stack.extend(item)
        elif not isinstance(item, _LEAVES):
            raise _RefusedError(f"a key of type {type(item).__name__}")
