"""The fusions, one file each: how the modalities of route "fusion" meet the backbone's vector."""

from __future__ import annotations

from adaptkit.kinds.index import homes_of
from adaptkit.lazy import lazily

_HOMES = {
    "BACKBONE": "base",
    "FUSIONS": "base",
    "Fusion": "base",
    **homes_of("fusions"),
}

__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = lazily(__name__, _HOMES)
