"""Names of modules as the installed transformers knows them, for adapters saved with transformers 4."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any


def current_path(family: str, path: str) -> str:
    """The name that a module or parameter has today; `path` itself where nothing was renamed.

    Today's names stay as they are, so a path may be given whose age is unknown. A prefix that leads to the backbone
    in a model with a head (`vit.`, `model.`) or in a file of PEFT is kept.

    Args:
        family: model type of transformers ("vit"), or a file of timm.
        path: "encoder.layer.0.attention.attention.query", with or without ".weight" and the like behind it.
    """
    for old, new in _rules(family):
        path = old.sub(new, path)
    return path


def renamed_families() -> tuple[str, ...]:
    """The model types with names that changed."""
    return (*_table()["renamed"], *_table()["like"])


@cache
def _rules(family: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    rows = _table()["renamed"].get(_table()["like"].get(family, family), [])
    return tuple((re.compile(row["old"]), row["new"]) for row in rows)


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "renamed.toml").read_text(encoding="utf-8"))
