"""How the sites of each known architecture are found, from two tables. No torch: `adaptkit list` stays fast.

docs/coverage.py measures and writes coverage.json: library -> architecture -> "forward" (one forward without data told
everything), "tree" (some blocks do not run without data; the module tree told), "path" (no named sites).
docs/conformance.py measures and writes conformant.json: library -> the architectures in which every law of surgery is
tested with every adapter; of timm, those whose family is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

LAWS, DETECTED, PATH = "laws tested", "detected", "by path only"
_WORDS = {"forward": DETECTED, "tree": DETECTED, "path": PATH}
_FOLDER = Path(__file__).parent


@cache
def _table(name: str) -> dict[str, Any]:
    return json.loads((_FOLDER / name).read_text(encoding="utf-8"))


@cache
def known_architectures(library: str) -> Mapping[str, str]:
    """Architecture -> how its sites are known, in alphabetical order.

    Args:
        library: "transformers" (model types) or "timm" (models).
    """
    tested = set(_table("conformant.json").get(library, ()))
    found = _table("coverage.json").get(library, {})
    return {name: LAWS if name in tested else _WORDS[found[name]] for name in sorted(found)}


def how_known(library: str, architecture: str, *, named_sites: bool) -> str:
    """The word for one architecture; one the file does not know goes by what was just found.

    Args:
        library: "transformers" or "timm".
        architecture: model type, or name of a timm model without its tag.
        named_sites: detection named sites in it.
    """
    known = known_architectures(library).get(architecture)
    if known == LAWS:
        return LAWS
    return DETECTED if named_sites else PATH
