"""The modalities, one folder each: the keys of `[modality.NAME]`, and the way from raw values to vectors."""

from __future__ import annotations

from adaptkit.kinds.index import homes_of
from adaptkit.lazy import lazily

_HOMES = {
    "MODALITIES": "encoder",
    "BackboneContext": "context",
    "ENCODERS": "token_encoder",
    "TokenEncoder": "token_encoder",
    "PROJECTIONS": "projection",
    "TokenProjection": "projection",
    "Encoder": "encoder",
    **homes_of("modalities"),
}

__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = lazily(__name__, _HOMES)
