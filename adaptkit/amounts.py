"""Large numbers as a reader takes them in: `312 MB`, `1.5 GFLOPs`."""

from __future__ import annotations


def in_bytes(count: float) -> str:
    """`312 MB`."""
    return f"{scaled(count)}B"


def scaled(count: float) -> str:
    """`312 M`, a number with the prefix of its unit."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if count < 1000 or prefix == "P":
            break
        count /= 1000
    return f"{count:.3g} {prefix}"
