"""What a task keeps of a split while it is gone through: enough for its metrics and its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adaptkit.tasks.metric import Values

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


# N samples of a split, O outputs of a task


class Outcome:
    """Collects a task's part of every batch. What it keeps of a sample does not grow with what the model computes.

    Args:
        task: whose, a `adaptkit.tasks.Task`.
    """

    def __init__(self, task: Any) -> None:
        self.task = task

    def add(self, outputs: Tensor, targets: Any) -> None:
        """One batch: what the model gave, and its encoded targets; None where nobody knows them."""
        raise NotImplementedError

    def answer(self, answers: Any, targets: Any) -> None:
        """What a speaker generated for one batch, and its encoded targets; None where nobody knows them."""
        raise NotImplementedError

    def measure(self) -> tuple[Values, list[str]]:
        """Every metric of the task but the loss, and a note for each that is undefined."""
        raise NotImplementedError

    def decode(self, items: Sequence[str] = ()) -> list[dict[str, Any]]:
        """One prediction per sample, as plain data.

        Args:
            items: what the samples are about, by name, for tasks that search among them.
        """
        raise NotImplementedError


class Arrays(Outcome):
    """Of a task whose outputs are numbers: (N, O) logits and the targets."""

    def __init__(self, task: Any) -> None:
        super().__init__(task)
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def add(self, outputs: Tensor, targets: Any) -> None:
        self._outputs.append(outputs.cpu())
        if targets is not None:
            self._targets.append(targets.cpu())

    @property
    def logits(self) -> Tensor:
        """(N, O) of all batches."""
        import torch

        return torch.cat(self._outputs)

    @property
    def targets(self) -> np.ndarray:
        """(N, ...) of all batches, as encoded."""
        import torch

        return torch.cat(self._targets).numpy()

    def measure(self) -> tuple[Values, list[str]]:
        return self.task.measure(self.task.scores(self.logits), self.targets)

    def decode(self, items: Sequence[str] = ()) -> list[dict[str, Any]]:
        return self.task.decode(self.logits, items)
