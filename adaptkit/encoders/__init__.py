"""Encoders: raw modality -> batch -> vectors. One file each, registered by being imported here."""

from __future__ import annotations

from adaptkit.encoders import features, image, text
from adaptkit.encoders.context import BackboneContext
from adaptkit.encoders.encoder import ENCODERS, Encoder

__all__ = ["ENCODERS", "BackboneContext", "Encoder", "features", "image", "text"]
