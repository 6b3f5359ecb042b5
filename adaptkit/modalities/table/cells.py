"""Cells of a table as data formats give them: numbers or text, and several ways to say that there is nothing."""

from __future__ import annotations

import hashlib
from math import inf, isfinite, isnan
from typing import Any

from adaptkit.errors import DataError

LARGEST = 3.4e38  # of float32


def is_empty(cell: Any) -> bool:
    """None, an empty text and NaN are no value."""
    return cell is None or (isinstance(cell, str) and not cell.strip()) or (isinstance(cell, float) and isnan(cell))


def number(cell: Any, name: str, where: str) -> float:
    """The number, which csv gives as text; NaN of an empty cell.

    Raises:
        DataError: it is none, or infinite.
    """
    if is_empty(cell):
        return float("nan")
    try:
        value = float(cell)
    except (TypeError, ValueError):
        raise DataError(f"{name} is {str(cell)[:60]!r}, not a number.", where=where) from None
    except OverflowError:  # a whole number of hundreds of digits
        value = inf
    if not abs(value) <= LARGEST:
        what = value if not isfinite(value) else f"{value:g}, more than float32 holds"
        raise DataError(f"{name} is {what}.", where=where, hint="Leave the cell empty where there is no number.")
    return value


def category(cell: Any, name: str, where: str) -> int:
    """A number that stands for the category, the same on every machine; 0 of an empty cell.

    1, 1.0 and "1" are one category. Numbers instead of texts, so that a model keeps its categories as a tensor.

    Raises:
        DataError: it is a list or a table.
    """
    if is_empty(cell):
        return 0
    if isinstance(cell, list | tuple | dict):
        raise DataError(f"{name} is a {type(cell).__name__}, not a category.", where=where)
    text = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1
