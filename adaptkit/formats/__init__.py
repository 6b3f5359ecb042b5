"""The data formats, one file each: from `[data]` to the rows of every split."""

from __future__ import annotations

from adaptkit.kinds.index import homes_of
from adaptkit.lazy import lazily

_HOMES = {
    "load_data": "load",
    "load_samples": "input_files",
    **homes_of("formats"),
}

__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = lazily(__name__, _HOMES)
