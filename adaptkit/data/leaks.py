"""Samples that two splits share: the same id, or the same content in all columns that are read."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adaptkit.data.paths import ArrayPath, digest_of
from adaptkit.data.rows import files_in

FITTED = ("train", "validation")  # what a training learns from, and chooses by
SHOWN = 3  # shared samples that are named
NOTHING = 0  # stands for no id of its own, or no content

Place = Callable[[str, int], str]


class Marks:
    """Eight bytes for the id and eight for the content of every sample of a split, in order.

    Two different samples in ten million have equal marks with a probability of 3e-6.
    """

    def __init__(self) -> None:
        self.ids, self.contents = array("Q"), array("Q")

    def add(self, id: str, inputs: Mapping[str, bytes | None], targets: Mapping[str, bytes]) -> None:
        """One sample. Where nothing is there, or something cannot be read, its content is like no other.

        Args:
            id: "" where it has none of its own.
            inputs: modality or column -> `digest` of its value, or None where it cannot be read.
            targets: task or column -> likewise.
        """
        there = any(found != ABSENT for found in inputs.values()) and None not in inputs.values()
        whole = [*inputs.items(), *targets.items()]
        self.ids.append(_number(_hash(id.encode())) if id else NOTHING)
        self.contents.append(_number(digest(whole)) if there else NOTHING)


def shared(marks: Mapping[str, Marks], place: Place) -> Iterator[str]:
    """A sentence for each split and what it has in common with the training or the validation split.

    Args:
        marks: split -> those of its samples.
        place: how the sample of a split at an index is named.
    """
    for number, fitted in enumerate(FITTED):
        for split in (name for name in marks if fitted in marks and name not in FITTED[: number + 1]):
            ours, theirs = marks[split], marks[fitted]
            same = _common(ours.contents, theirs.contents)
            of = f"{split}: {{:,}} of {len(ours.ids):,} samples have the"
            if len(same):
                yield f"{of.format(len(same))} content of one in {fitted}: {_named(same, split, fitted, place)}."
            named = _common(ours.ids, theirs.ids)
            if len(named):
                other = all(ours.contents[i] != theirs.contents[j] for i, j in named.tolist())
                what = f"id of one in {fitted}{', with other contents' if other else ''}"
                yield f"{of.format(len(named))} {what}: {_named(named, split, fitted, place)}."


def _named(pairs: np.ndarray, split: str, fitted: str, place: Place) -> str:
    shown = [f"{place(split, i)} = {place(fitted, j)}" for i, j in pairs[:SHOWN].tolist()]
    return ", ".join([*shown, "..."] if len(pairs) > SHOWN else shown)


def _common(ours: array[int], theirs: array[int]) -> np.ndarray:
    """(n, 2): the indices of ours that theirs have, in order, each with the first index of theirs."""
    known, first = np.unique(np.asarray(theirs), return_index=True)
    wanted = np.asarray(ours)
    indices = np.flatnonzero(np.isin(wanted, known) & (wanted != NOTHING))
    return np.stack([indices, first[np.searchsorted(known, wanted[indices])]], axis=1)


def content_of(value: Any) -> str:
    """What a value holds that JSON has no word for."""
    if isinstance(value, Image.Image | np.ndarray):
        array = np.ascontiguousarray(value)
        if array.dtype.hasobject:
            return repr(array.tolist())
        return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)


def content(value: Any) -> str:
    """`content_of`, and of a file what lies in it."""
    if isinstance(value, ArrayPath):
        return f"{_of_file(value.file)}::{value.key}"
    if isinstance(value, Path):
        return "/".join(_of_file(file) for file in files_in(value))
    return content_of(value)


_of_file = lru_cache(maxsize=4096)(digest_of)  # several samples in a row read one file


def said(target: Any) -> Any:
    """What a target says: of answers with other fields beside them, such as the question's id, the answers."""
    return target.get("answers", target) if isinstance(target, Mapping) else target


def digest(value: Any, content: Callable[[Any], str] = content) -> bytes:
    """Of what a raw value holds: equal for equal values.

    Args:
        value: of a cell.
        content: what stands for a value that JSON has no word for. By default a file counts by what lies in it,
            wherever it is.
    """
    return _hash(json.dumps(value, sort_keys=True, default=content).encode("utf-8", "surrogatepass"))


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _number(found: bytes) -> int:
    return int.from_bytes(found[:8], "little") or 1  # 0 is NOTHING


ABSENT = digest(None)
