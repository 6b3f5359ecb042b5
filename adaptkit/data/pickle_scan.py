"""A look over a pickle before it is read: it must end, claim no more than there is, and be no archive."""

from __future__ import annotations

import pickletools
from typing import Any

from adaptkit.errors import DataError

OPCODES = 20_000_000  # each may cost some hundred bytes of memory

_BY_CODE = {ord(opcode.code): opcode for opcode in pickletools.opcodes}
_COMPRESSED = {b"\x1f\x8b": "gzip", b"PK": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}
# Doors to objects of elsewhere: registered extensions, persistent ids, buffers out of band.
_REFUSED = {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER"}
# The unpickler reserves memory for these numbers before it looks at what follows: places in its memo, and frames.
_SIZED = {"PUT", "LONG_BINPUT", "FRAME"}


def scan(content: Any, where: str) -> None:
    """Walk over the opcodes without doing what they say.

    Args:
        content: bytes, or a memory map.
        where: the file, for errors.

    Raises:
        DataError: an archive, a truncated pickle, more opcodes than `OPCODES`, or one of the refused opcodes.
    """
    head = bytes(content[:8])
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            raise DataError(f"is a {name} archive, not a pickle.", where=where, hint="Unpack it first.")
    position, size = 0, len(content)
    for number in range(OPCODES):
        opcode = _BY_CODE.get(content[position]) if position < size else None
        if opcode is None:
            raise DataError("is not a pickle, or is truncated.", where=where)
        if opcode.name in _REFUSED:
            raise DataError(f"the pickle uses {opcode.name}, which is refused.", where=where)
        if opcode.name == "STOP":
            return
        behind = _behind(content, position + 1, opcode, size)
        if opcode.name in _SIZED:
            claimed = _number(content, position + 1, min(behind, size), opcode)
            if opcode.name == "FRAME" and claimed > size:
                raise DataError("is not a pickle, or is truncated.", where=where)
            if opcode.name != "FRAME" and claimed > number:
                raise DataError(f"the pickle uses {opcode.name} with a number that no pickle needs.", where=where)
        position = behind
    raise DataError(f"the pickle has more than {OPCODES:,} instructions.", where=where)


def _number(content: Any, start: int, end: int, opcode: pickletools.OpcodeInfo) -> int:
    argument = bytes(content[start:end])
    if opcode.name != "PUT":
        return int.from_bytes(argument, "little")
    digits = argument.strip()
    return int(digits) if len(digits) < 20 and digits.isdigit() else 1 << 64


def _behind(content: Any, position: int, opcode: pickletools.OpcodeInfo, size: int) -> int:
    """Where the next opcode starts; past the end where the argument is longer than the file."""
    if opcode.arg is None:
        return position
    count = opcode.arg.n
    if count >= 0:
        return position + count
    if count == pickletools.UP_TO_NEWLINE:
        for _ in range(2 if opcode.name in ("GLOBAL", "INST") else 1):
            position = content.find(b"\n", position) + 1 or size + 1
        return position
    prefix = {
        pickletools.TAKEN_FROM_ARGUMENT1: 1,
        pickletools.TAKEN_FROM_ARGUMENT4: 4,
        pickletools.TAKEN_FROM_ARGUMENT4U: 4,
        pickletools.TAKEN_FROM_ARGUMENT8U: 8,
    }[count]
    return position + prefix + int.from_bytes(content[position : position + prefix], "little")
