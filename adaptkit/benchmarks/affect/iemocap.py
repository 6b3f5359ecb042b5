"""IEMOCAP: emotions of actors in dialogues (Busso et al. 2008), as four binary problems (Tsai et al. 2019, MulT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from adaptkit.benchmarks.affect.importer import Affect, Split
from adaptkit.benchmarks.affect.padding import Layout
from adaptkit.benchmarks.affect.synthesis import write_emotions
from adaptkit.benchmarks.benchmark import register
from adaptkit.data.store_writer import StoreWriter
from adaptkit.errors import DataError

EMOTIONS = ("neutral", "happy", "sad", "angry")  # order of the labels in the pickle
WIDTHS = {"text": (300,), "audio": (74,), "vision": (35,)}


@register("iemocap")
class Iemocap(Affect):
    """IEMOCAP: acted dialogues with words, voice and face; four emotions, each present or not.

    The pickles of MulT (processed by CMU).
    """

    name = "iemocap"
    title = "IEMOCAP"
    description = "Emotions of actors in dialogues, from words, voice and face: four binary problems."
    url = "https://github.com/yaohungt/Multimodal-Transformer"
    task = '[task.emotions] kind = "multilabel", conventions = "iemocap"'
    columns: ClassVar[Mapping[str, str]] = {
        "text": "features (T, 300): GloVe",
        "audio": "features (T, 74): COVAREP",
        "vision": "features (T, 35): FACET",
        "emotions": "labels among neutral, happy, sad, angry; none to four of them",
    }
    variants: ClassVar[Mapping[str, str]] = {
        "mult-aligned": "iemocap_data.pkl, aligned to words (20 of them, also under seq_length_50)",
        "mult-noalign": "iemocap_data_noalign.pkl",
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "mult-aligned": Layout(
            ("iemocap_data.pkl", "seq_length_50/iemocap_data.pkl", "seq_length_20/iemocap_data.pkl"),
            "front",
            True,
            WIDTHS,
        ),
        "mult-noalign": Layout(
            ("iemocap_data_noalign.pkl", "seq_length_50/iemocap_data_noalign.pkl"), "front", False, WIDTHS
        ),
    }

    def label_keys(self, layout: Layout) -> tuple[str, ...]:
        """(N, 4, 2) one-hot."""
        return ("labels",)

    def declare(self, writer: StoreWriter) -> None:
        """The emotions as a list of names."""
        writer.column("emotions", "labels", description=self.columns["emotions"])
        writer.classes["emotions"] = sorted(EMOTIONS)

    def targets(self, part: Split) -> Sequence[Mapping[str, Any] | None]:
        """The names whose pair is (0, 1).

        Raises:
            DataError: a pair that is not one-hot.
        """
        pairs = part.numbers("labels", 2 * len(EMOTIONS)).reshape(-1, len(EMOTIONS), 2)  # (N, 4, 2)
        if not np.isin(pairs, (0, 1)).all() or not (pairs.sum(axis=-1) == 1).all():
            raise DataError("labels are not pairs of one 0 and one 1 (not, yes).", where=part.where)
        held = pairs.argmax(axis=-1)  # (N, 4)
        return [{"emotions": [name for name, is_held in zip(EMOTIONS, row, strict=True) if is_held]} for row in held]

    def synth(self, root: Path, *, variant: str, samples: int, seed: int) -> None:
        """The text tells neutral and happy, the voice sad, the face angry."""
        layout = self.layouts[variant]
        write_emotions(root / layout.places[0], layout, samples=samples, seed=seed)
