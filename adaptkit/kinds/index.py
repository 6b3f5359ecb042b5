"""The index of the built-in kinds: one `kinds.json` in each package that holds some.

It lets light commands know every kind and its keys without importing torch. `make index` writes it anew by importing
them all, and a test says when it is stale.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptkit.kinds.kind import Kind

ROOT = Path(__file__).resolve().parent.parent
FILE = "kinds.json"


@functools.cache
def read_index(package: str, point: str) -> Mapping[str, Kind]:
    """Name -> built-in kind of one extension point that a package holds; empty where it has no index."""
    return {name: Kind.from_json(name, written) for name, written in _content(package).get(point, {}).items()}


@functools.cache
def _content(package: str) -> dict[str, Any]:
    file = ROOT / package / FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def homes_of(package: str) -> dict[str, str]:
    """Class (or function) of every built-in kind of a package -> its module below it, for lazy imports by name."""
    kinds = (Kind.from_json(name, item) for point in _content(package).values() for name, item in point.items())
    homes = (kind.home.removeprefix(f"adaptkit.{package}.").partition(":") for kind in kinds)
    return {name: module for module, _, name in homes if "." not in name}
