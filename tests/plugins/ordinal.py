"""A task: a grade is how many thresholds it passes. Its keys are the keywords of its class."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from adaptkit.recipe import TaskTable
from adaptkit.tasks import TASKS, Metric, Task


class Ordinal(TaskTable):
    """A grade from 0 up."""

    summary: ClassVar[str] = "labels"

    grades: int = Field(default=2, ge=2, description="How many there are.")


@TASKS.register("ordinal")
class OrdinalTask(Task):
    """Targets are (B, O) of 0 and 1: whether the grade passes each threshold."""

    table = Ordinal
    kind = "ordinal"
    default_monitor = "grade_error"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("grade_error", "mean distance of grades", False),)

    @classmethod
    def of(cls, spec: Any, name: str, training_targets: Sequence[Any] | None) -> "OrdinalTask":
        return cls(name, outputs=spec.grades - 1, **cls.shared(spec))

    def encode(self, values: Sequence[Any], ids: Sequence[str]) -> Tensor:
        grades = torch.tensor([int(value == "yes") for value in values])
        return (grades[:, None] > torch.arange(self.outputs)).float()

    def own_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(logits.float(), targets)

    def scores(self, logits: Tensor) -> np.ndarray:
        return logits.detach().float().sigmoid().cpu().numpy()

    def compute(self, scores: np.ndarray, targets: np.ndarray) -> tuple[dict[str, float | None], list[str]]:
        return {"grade_error": float(np.abs((scores > 0.5).sum(1) - targets.sum(1)).mean())}, []

    def decode(self, logits: Tensor, items: Sequence[str] = ()) -> list[dict[str, Any]]:
        return [{"grade": int((row > 0.5).sum())} for row in self.scores(logits)]
