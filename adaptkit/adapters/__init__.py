"""The adapters, one file each. A new one is its file, and `make index`."""

from __future__ import annotations

from adaptkit.kinds.index import homes_of
from adaptkit.lazy import lazily

_HOMES = {
    "ADAPTERS": "base",
    "Adapter": "base",
    "Shape": "base",
    **homes_of("adapters"),
}

__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = lazily(__name__, _HOMES)
