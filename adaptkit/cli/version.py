"""Which adaptkit this is, installed or run from its source."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def version() -> str:
    """The version of the installed distribution, or of the source tree it is run from."""
    try:
        return metadata.version("adaptkit")
    except metadata.PackageNotFoundError:
        return str(_project().get("version", "unknown"))


def requirements() -> list[str]:
    """What adaptkit needs, as PEP 508 lines without the extras."""
    try:
        lines = metadata.requires("adaptkit") or []
    except metadata.PackageNotFoundError:
        lines = _project().get("dependencies", [])
    return [line for line in lines if not re.search(r"\bextra\b", line)]


def _project() -> dict:
    import tomllib

    return tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"] if PYPROJECT.is_file() else {}
