"""Encoders: raw modality -> batch -> vectors. One file each, registered by being imported here."""

from __future__ import annotations

from adaptkit.encoders import audio, features, image, table, text, video
from adaptkit.encoders.context import BackboneContext
from adaptkit.encoders.encoder import ENCODERS, Encoder

__all__ = ["ENCODERS", "BackboneContext", "Encoder", "audio", "features", "image", "table", "text", "video"]
