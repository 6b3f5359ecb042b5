"""The table of families: words and exceptions that the module tree does not tell. Data in families.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn


@dataclass(frozen=True, slots=True)
class Family:
    """Exceptions of one architecture; the defaults mean that detection alone speaks."""

    norm: str = ""
    fused: str = ""
    note: str = ""
    causal: tuple[str, ...] = ()


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "families.toml").read_text(encoding="utf-8"))


def family_of(model: nn.Module) -> str:
    """Model type of transformers ("bert"), file of a timm model ("resnet"), else the class in lower case."""
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    if model_type:
        return str(model_type)
    module = type(model).__module__
    return module.rsplit(".", 1)[-1] if module.startswith("timm.models.") else type(model).__name__.lower()


def row(family: str) -> Family | None:
    """The family's row, or None where the table has nothing to add."""
    values = _table()["family"].get(family)
    return Family(**{**values, "causal": tuple(values.get("causal", ()))}) if values else None


@cache
def words(meaning: str) -> frozenset[str]:
    """The names a projection of this meaning goes by."""
    return frozenset(_table()["words"][meaning])
