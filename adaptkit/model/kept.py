"""What is kept of a frozen part of a model, for the batches that bring it along."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adaptkit.cache.entry import Entry, Rows
from adaptkit.cache.identity import UnknowableError, identity
from adaptkit.modalities.encoder import KEPT, KEPT_MASK
from adaptkit.model.encoded import kept_key
from adaptkit.plan.frontier import Frontier

# B batch, T tokens, E width, R rows of all samples

STATES = "states"  # the one part of a model that does not run at all


@dataclass(frozen=True, slots=True)
class Kept:
    """A frozen part of a model, and what is kept of it.

    Attributes:
        frontier: how far it goes.
        entry: what is there.
    """

    frontier: Frontier
    entry: Entry

    @property
    def name(self) -> str:
        """The key of a batch that has what is kept."""
        return kept_key(self.frontier.model)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that the model reads."""
        return self.frontier.modalities

    @property
    def spared(self) -> tuple[str, ...]:
        """Those that need not be read where this is there."""
        return self.modalities if self.frontier.spares_input else ()

    def replays(self, given: Collection[str]) -> bool:
        """Whether a batch brings what the blocks of this model are to hand on."""
        return not self.frontier.whole and all(str(index) in given for index in self.frontier.kept)

    def find(self, values: Sequence[Sequence[Any]]) -> dict[str, Tensor] | None:
        """What is kept of a batch; None where that of a sample is not there.

        Args:
            values: of each sample, the raw values of the modalities.
        """
        try:
            found = self.entry.take([identity(each) for each in values])
        except UnknowableError:
            return None
        return None if found is None else self.brought(found)

    def brought(self, found: Mapping[str, Rows]) -> dict[str, Tensor]:
        """What a batch brings along, of the rows that are kept of its samples."""
        dtypes = self.entry.form["dtypes"]
        made = {
            name: rows._replace(values=rows.values.to(getattr(torch, dtypes[name]))) for name, rows in found.items()
        }
        if not self.frontier.whole:
            return {name: rows.values for name, rows in made.items()}
        vectors, mask = padded(made[STATES])
        return {KEPT: vectors, KEPT_MASK: mask}


def padded(rows: Rows) -> tuple[Tensor, Tensor]:
    """(B, T, E), zeros behind the rows of a sample, and (B, T) bool."""
    longest = max(int(rows.counts.max()), 1)
    mask = torch.arange(longest) < rows.counts[:, None]
    if bool(mask.all()):
        return rows.values.unflatten(0, mask.shape), mask
    vectors = rows.values.new_zeros(*mask.shape, *rows.values.shape[1:])
    vectors[mask] = rows.values
    return vectors, mask
