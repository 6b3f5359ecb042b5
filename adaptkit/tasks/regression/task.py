"""One or several numbers."""

from __future__ import annotations

from collections.abc import Sequence
from reprlib import repr
from typing import TYPE_CHECKING, Any, ClassVar

from adaptkit.errors import DataError
from adaptkit.tasks.metric import Metric, Values
from adaptkit.tasks.regression.metrics import METRICS, regression
from adaptkit.tasks.regression.table import Regression
from adaptkit.tasks.task import TASKS, Task

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

# B batch, O outputs

LARGEST = 3.4e38  # of float32, which targets are; NaN is not below it


@TASKS.register("regression")
class RegressionTask(Task):
    """One or several numbers: the squared error unless the recipe names another loss. Targets are (B, O) float32."""

    table = Regression
    kind = "regression"
    default_monitor = "mae"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS

    def __init__(self, name: str, *, outputs: int = 1, **common: Any) -> None:
        super().__init__(name, outputs=outputs, **common)

    @classmethod
    def of(cls, spec: Any, name: str, training_targets: Sequence[Any] | None) -> RegressionTask:
        return cls(name, outputs=spec.outputs, **cls.shared(spec))

    def encode(self, values: Sequence[Any], ids: Sequence[str]) -> Tensor:
        import torch

        return torch.tensor([self._numbers(value, where) for value, where in zip(values, ids, strict=True)])

    def own_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        from adaptkit.tasks.losses import mse

        return mse(logits.float(), targets)

    def scores(self, logits: Tensor) -> np.ndarray:
        return logits.detach().float().cpu().numpy()

    def compute(self, scores: np.ndarray, targets: np.ndarray) -> tuple[Values, list[str]]:
        return regression(scores, targets)

    def decode(self, logits: Tensor, items: Sequence[str] = ()) -> list[dict[str, Any]]:
        rows = self.scores(logits).tolist()
        return [{"value": row[0]} for row in rows] if self.outputs == 1 else [{"values": row} for row in rows]

    def _numbers(self, value: Any, where: str) -> list[float]:
        numbers = list(value) if isinstance(value, list | tuple) else [value]
        plain = all(isinstance(n, int | float) and not isinstance(n, bool) and abs(n) <= LARGEST for n in numbers)
        if not plain or len(numbers) != self.outputs:
            wanted = "one finite number" if self.outputs == 1 else f"{self.outputs} finite numbers"
            raise DataError(f"the target {repr(value)} is not {wanted}.", where=where)
        return [float(number) for number in numbers]
