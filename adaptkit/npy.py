"""Reading .npy files, whose header is a Python literal that anybody may have written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np


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
