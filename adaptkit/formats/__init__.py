"""The data formats, one file each: from `[data]` to the rows of every split."""

from __future__ import annotations

from adaptkit.kinds.index import homes_of
from adaptkit.lazy import lazily

_HOMES = {
    "FORMATS": "format",
    "Column": "format",
    "Format": "format",
    "Row": "format",
    "Rows": "format",
    "SplitRows": "format",
    **homes_of("formats"),
}

__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = lazily(__name__, _HOMES)
