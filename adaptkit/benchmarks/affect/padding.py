"""From padded arrays to what was really there: which side the padding is on, and how long each sequence is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adaptkit.benchmarks.sources import Notes
from adaptkit.errors import DataError

MODALITIES = ("text", "audio", "vision")

# N samples, L steps with padding, T without, E width


@dataclass(frozen=True, slots=True)
class Layout:
    """One published pickle.

    Attributes:
        places: where it lies below the root, the published place first.
        padding: the side of the zeros.
        aligned: step t of all modalities is the same word.
        widths: modality -> the widths it is handed out in.
        text_decides: samples whose text sums to 0 are left out, and aligned sequences start where the text starts,
            as in MultiBench's loader.
    """

    places: tuple[str, ...]
    padding: Literal["front", "end"]
    aligned: bool
    widths: Mapping[str, tuple[int, ...]]
    text_decides: bool = False

    def file(self, root: Path) -> Path | None:
        """The pickle below this root, or None."""
        return next((root / place for place in self.places if (root / place).is_file()), None)


class Stated:
    """The lengths a source states for each sample and modality; where it states none, zeros tell."""

    def __init__(self, lengths: Mapping[str, np.ndarray]) -> None:
        self.lengths = lengths  # modality -> (N,)

    @classmethod
    def of(
        cls, split: Mapping[str, Any], arrays: Mapping[str, np.ndarray], layout: Layout, where: str, notes: Notes
    ) -> Stated:
        """Lengths from `audio_lengths`, `vision_lengths` and the attention mask in `text_bert` (N, 3, L).

        In an aligned file the mask counts for all three, as in MMSA's loader.

        Raises:
            DataError: lengths of the wrong number or beyond the arrays, or a text_bert of another shape.
        """
        if layout.padding == "front":
            return cls({})
        count = len(arrays["text"])
        lengths: dict[str, np.ndarray] = {}
        if "text_bert" in split:
            tokens = as_array(split["text_bert"], "text_bert", where)
            if tokens.ndim != 3 or tokens.shape[:2] != (count, 3) or tokens.dtype.kind not in "fiub":
                raise DataError(
                    f"text_bert has shape {tokens.shape}; ({count}, 3, steps) expected: ids, mask, segments.",
                    where=where,
                )
            lengths["text"] = (tokens[:, 1] > 0.5).sum(axis=1)  # stored as float or int; (N, L) -> (N,)
            if layout.aligned:
                lengths |= {"audio": lengths["text"], "vision": lengths["text"]}
            notes.note("text_bert (ids of BERT's vocabulary) not kept: words holds the text (splits)")
        for modality in () if layout.aligned else ("audio", "vision"):
            if f"{modality}_lengths" in split:
                lengths[modality] = _lengths(split[f"{modality}_lengths"], modality, where)
        for modality in MODALITIES:
            if modality not in lengths:
                notes.note(f"{modality}: no lengths in the source, zeros at the end stripped (splits)")
            elif len(lengths[modality]) != count or lengths[modality].max(initial=0) > arrays[modality].shape[1]:
                raise DataError(
                    f"the lengths of {modality} do not fit: {len(lengths[modality]):,} of them, up to "
                    f"{lengths[modality].max(initial=0)}, for an array of shape {arrays[modality].shape}.",
                    where=where,
                )
        return cls(lengths)

    def of_sample(self, index: int) -> dict[str, int]:
        """Modality -> stated length."""
        return {modality: int(lengths[index]) for modality, lengths in self.lengths.items()}


def strip(
    padded: Mapping[str, np.ndarray], stated: Mapping[str, int], layout: Layout, notes: Notes
) -> dict[str, np.ndarray | None]:
    """The sequences without their padding; None, and a note, where one is zero throughout.

    Args:
        padded: modality -> (L, E).
        stated: modality -> length, where the source states it.
    """
    held = {name: np.flatnonzero(values.any(axis=1)) for name, values in padded.items()}  # steps that are not zero
    spans = _front(padded, held, layout) if layout.padding == "front" else _end(held, stated, layout, notes)
    stripped: dict[str, np.ndarray | None] = {}
    for name, values in padded.items():
        start, stop = spans[name]
        if not values[start:stop].any():
            notes.note(f"{name}: sequences that are zero throughout, absent")
            stripped[name] = None
        else:
            notes.note(f"{name}: steps of padding at the {layout.padding} stripped", len(values) - (stop - start))
            stripped[name] = values[start:stop]
    return stripped


def _front(
    padded: Mapping[str, np.ndarray], held: Mapping[str, np.ndarray], layout: Layout
) -> dict[str, tuple[int, int]]:
    """From the first step that is not zero to the end.

    Aligned sequences start together, so that they stay aligned: where the first of them does, or where the text does.
    """
    starts = {name: int(steps[0]) if len(steps) else len(padded[name]) for name, steps in held.items()}
    if layout.aligned:
        start = starts["text"] if layout.text_decides else min(starts.values())
        starts = dict.fromkeys(starts, start)
    return {name: (starts[name], len(values)) for name, values in padded.items()}


def _end(
    held: Mapping[str, np.ndarray], stated: Mapping[str, int], layout: Layout, notes: Notes
) -> dict[str, tuple[int, int]]:
    """From the start to the stated length.

    Zeros within it are content (a face that was not found). Behind the attention mask there is only what BERT makes
    of padding. Audio and vision behind their stated length are kept: in some copies those lengths were counted up to
    the first zero of sequences that are padded at the front, and come out as 1.
    """
    spans = {}
    for name, steps in held.items():
        last = int(steps[-1]) + 1 if len(steps) else 0
        length = stated.get(name, last)
        if last > length and name != "text":
            notes.note(f"{name}: stated lengths that are too short for what is there, not used")
            spans[name] = (0 if layout.aligned else int(steps[0]), last)
        else:
            spans[name] = (0, length)
    return spans


def as_array(value: Any, what: str, where: str) -> np.ndarray:
    """A key of a pickle as an array.

    Raises:
        DataError: it is a list of arrays of different shapes.
    """
    try:
        return np.asarray(value)
    except ValueError:
        raise DataError(f"{what} is a list of arrays of different shapes.", where=where) from None


def _lengths(value: Any, modality: str, where: str) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=np.float64).reshape(len(value), -1)
    except (TypeError, ValueError):
        raise DataError(f"{modality}_lengths are not numbers.", where=where) from None
    if array.shape[1] != 1 or not np.isfinite(array).all() or (array < 0).any():
        raise DataError(f"{modality}_lengths are not one number for each sample.", where=where)
    return array[:, 0].astype(np.int64)  # (N,)
