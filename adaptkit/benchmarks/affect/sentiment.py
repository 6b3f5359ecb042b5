"""Sentiment on a scale: what CMU-MOSI, CMU-MOSEI and SIMS do with the labels of their pickles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from adaptkit.benchmarks.affect.importer import Affect, Split
from adaptkit.benchmarks.affect.padding import Layout
from adaptkit.benchmarks.affect.synthesis import write_sentiment
from adaptkit.data.store_writer import StoreWriter

EMOTIONS = 6  # that copies of CMU-MOSEI give behind the sentiment


class Sentiment(Affect):
    """A number for each sample.

    Attributes:
        limit: sentiment is in [-limit, limit].
        ratings: key of an MMSA pickle -> column.
    """

    limit: ClassVar[float] = 3.0
    ratings: ClassVar[Mapping[str, str]] = {"regression_labels": "sentiment"}

    def label_keys(self, layout: Layout) -> tuple[str, ...]:
        """`labels` of the CMU pickles and of MultiBench, `regression_labels` (and SIMS' further ones) of MMSA."""
        return ("labels",) if layout.padding == "front" else tuple(self.ratings)

    def declare(self, writer: StoreWriter) -> None:
        """One number, or one for each rating."""
        for column in self.ratings.values():
            writer.column(column, "number", description=self.columns[column])

    def targets(self, part: Split) -> Sequence[Mapping[str, Any] | None]:
        """The numbers; of (N, 1, 7), which MultiBench's loader takes the first of too, the sentiment alone."""
        keys = self.label_keys(part.layout)
        widths = (1, 1 + EMOTIONS) if keys == ("labels",) else (1,)
        found = [part.numbers(key, *widths) for key in keys]
        if found[0].shape[1] > 1:
            part.writer.note("labels of 7 numbers: the first, sentiment, is kept", part.count)
        values = np.stack([numbers[:, 0] for numbers in found], axis=1)  # (N, ratings)
        part.writer.note(
            f"sentiment outside [-{self.limit:g}, {self.limit:g}]", int((np.abs(values) > self.limit).any(axis=1).sum())
        )
        columns = [self.ratings.get(key, "sentiment") for key in keys]
        return [dict(zip(columns, row.tolist(), strict=True)) if np.isfinite(row).all() else None for row in values]

    def synth(self, root: Path, *, variant: str, samples: int, seed: int) -> None:
        """The text tells half of the sentiment's variance, audio and vision a quarter each."""
        layout = self.layouts[variant]
        write_sentiment(
            root / layout.places[0],
            layout,
            samples=samples,
            seed=seed,
            limit=self.limit,
            further=tuple(self.ratings)[1:],
        )
