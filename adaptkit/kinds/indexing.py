"""Writing the index of the built-in kinds: `make index`, or `python -m adaptkit.kinds.indexing`."""

from __future__ import annotations

import json
import pkgutil
from importlib import import_module
from typing import Any

from adaptkit.kinds.describing import describe
from adaptkit.kinds.index import FILE, ROOT
from adaptkit.kinds.points import POINTS


def indexed_packages() -> list[str]:
    """The packages that hold built-in kinds, by name."""
    return sorted({package for point in POINTS for package in point.packages})


def index_text(package: str) -> str:
    """What the index of a package should say: every module of it is imported."""
    folder = f"adaptkit.{package}"
    for module in pkgutil.walk_packages([str(ROOT / package)], f"{folder}."):
        import_module(module.name)
    found: dict[str, dict[str, Any]] = {}
    for point in POINTS:
        for name, (entry, table) in sorted(point.entries().items()):
            if entry.__module__.startswith(f"{folder}."):
                described = describe(name, entry, table, keyed=point.keyed, given=point.given)
                found.setdefault(point.point, {})[name] = described.as_json()
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def write_indexes() -> None:
    """Write the index of every package."""
    for package in indexed_packages():
        (ROOT / package / FILE).write_text(index_text(package), encoding="utf-8")


if __name__ == "__main__":
    write_indexes()
