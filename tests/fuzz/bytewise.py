"""Damages to files of any kind: bits, cuts, blocks, and what happens to whole files."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path


def bit(path: Path, chance: random.Random) -> str:
    content = bytearray(path.read_bytes())
    at, number = chance.randrange(len(content)), chance.randrange(8)
    content[at] ^= 1 << number
    path.write_bytes(bytes(content))
    return f"bit {number} of byte {at} of {path.name}"


def cut(path: Path, chance: random.Random) -> str:
    content = path.read_bytes()
    at = chance.randrange(len(content))
    path.write_bytes(content[:at])
    return f"{path.name} cut at byte {at}"


def block(path: Path, chance: random.Random) -> str:
    content = bytearray(path.read_bytes())
    at, length = chance.randrange(len(content)), chance.choice((1, 16, 512))
    kind = chance.choice(("zeroed", "repeated", "noise", "inserted"))
    part = content[at : at + length]
    new = {"zeroed": bytes(len(part)), "repeated": part * 2, "noise": chance.randbytes(len(part))}.get(kind, part)
    content[at : at + (0 if kind == "inserted" else length)] = new if kind != "inserted" else chance.randbytes(length)
    path.write_bytes(bytes(content))
    return f"{length} bytes {kind} at byte {at} of {path.name}"


def whole(path: Path, others: Sequence[Path], chance: random.Random) -> str:
    """What becomes of a file as a whole; it may change places with one of the others."""
    kind = chance.choice(("exchanged", "removed", "emptied", "a folder", "doubled"))
    if kind == "exchanged":
        other = chance.choice(others)
        first, second = path.read_bytes(), other.read_bytes()
        path.write_bytes(second)
        other.write_bytes(first)
        return f"{path.name} exchanged with {other.name}"
    if kind in ("doubled", "emptied"):
        path.write_bytes(path.read_bytes() * (2 if kind == "doubled" else 0))
    else:
        path.unlink()
        if kind == "a folder":
            path.mkdir()
    return f"{path.name} {kind}"


SORTS: tuple[Callable[[Path, random.Random], str], ...] = (bit, bit, cut, block)


def damaged_copy(source: Path, target: Path, chance: random.Random) -> str:
    """A copy of a folder, in which one file is damaged, in one case of eight two; says what was done."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    told = []
    for _ in range(2 if chance.random() < 1 / 8 else 1):
        files = sorted(path for path in target.rglob("*") if path.is_file() and path.stat().st_size)
        path, sort = chance.choice(files), chance.choice((*SORTS, None))
        told.append(whole(path, files, chance) if sort is None else sort(path, chance))
    return ", ".join(told)
