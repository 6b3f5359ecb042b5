"""Which task every sample of a batch belongs to, for adapters that tell tasks apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from adaptkit.errors import SiteError

# B samples of a batch, R rows of a stream: those of the samples, or several of each, one after another


class Routing:
    """The tasks of a batch of several: an adapter sees the rows of each by themselves, within one forward.

    Args:
        tasks: (B,) of every sample.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)
        self._rows: dict[tuple[int, torch.device], tuple[Mapping[str, Tensor], Tensor]] = {}

    @staticmethod
    def of(task: str | Sequence[str] | Routing | None) -> str | Routing | None:
        """The one task of a batch, or its routing; None where nobody said."""
        if task is None or isinstance(task, str | Routing):
            return task
        return task[0] if len(set(task)) == 1 else Routing(task)

    def rows(self, length: int, device: torch.device) -> tuple[Mapping[str, Tensor], Tensor]:
        """Task -> its rows of a stream; and, for the rows of all tasks one after another, where each comes from.

        Args:
            length: R, as many for every sample: windows, the frames of a video, the beams of a generation.
            device: of the stream.

        Raises:
            SiteError: the rows are not those of the samples.
        """
        if length % len(self.tasks):
            raise SiteError(
                f"the stream has {length} rows here, and the batch {len(self.tasks)} samples of several tasks.",
                hint="Choose a site whose rows are samples, or give the tasks one after another.",
            )
        key = (length, device)
        if key not in self._rows:
            each = length // len(self.tasks)
            names = [name for name in self.tasks for _ in range(each)]
            rows = {
                task: torch.tensor([row for row, name in enumerate(names) if name == task], device=device)
                for task in dict.fromkeys(self.tasks)
            }
            self._rows[key] = rows, torch.cat([*rows.values()]).argsort()
        return self._rows[key]

    def joined(self, length: int, device: torch.device, of: Callable[[str, Tensor], Tensor]) -> Tensor:
        """(R, ...) what `of` makes of each task and its rows, in the order of the rows."""
        rows, order = self.rows(length, device)
        return torch.cat([of(task, own) for task, own in rows.items()])[order]
