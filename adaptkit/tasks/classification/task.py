"""One label out of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from adaptkit.tasks.classification.metrics import METRICS, classification
from adaptkit.tasks.classification.table import Classification
from adaptkit.tasks.labels import labels_of, position, weights_of
from adaptkit.tasks.metric import Metric, Values
from adaptkit.tasks.task import TASKS, Task

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

# B batch, O labels


@TASKS.register("classification")
class ClassificationTask(Task):
    """One label out of several: softmax and cross-entropy. Targets are (B,) int64.

    Args:
        class_weight: one weight per label in the loss, or None. `balanced` in a recipe is N / (O * n_label),
            as in scikit-learn.
        label_smoothing: share of the target spread over all labels.
    """

    table = Classification
    kind = "classification"
    default_monitor = "accuracy"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS

    def __init__(
        self,
        name: str,
        labels: tuple[str, ...],
        *,
        class_weight: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(name, outputs=len(labels), labels=labels, **common)
        self.class_weight, self.label_smoothing = class_weight, label_smoothing
        self._places = {label: place for place, label in enumerate(labels)}

    @classmethod
    def of(cls, spec: Any, name: str, training_targets: Sequence[Any] | None) -> ClassificationTask:
        labels = labels_of(spec.labels, training_targets, task=name, least=2)
        samples = None if training_targets is None else ([value] for value in training_targets)
        formulas = {"balanced": lambda n, with_label: n / (len(labels) * with_label)}
        return cls(
            name,
            labels,
            class_weight=weights_of(spec.class_weight, labels, samples, formulas, f"task.{name}.class_weight"),
            label_smoothing=spec.label_smoothing,
            **cls.shared(spec),
        )

    def encode(self, values: Sequence[Any], ids: Sequence[str]) -> Tensor:
        import torch

        return torch.tensor([position(v, self._places, i) for v, i in zip(values, ids, strict=True)])

    def own_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        weight = None if self.class_weight is None else logits.new_tensor(self.class_weight).float()
        return cross_entropy(logits.float(), targets, weight, label_smoothing=self.label_smoothing)

    @property
    def label_weights(self) -> Sequence[float] | None:
        return self.class_weight

    def scores(self, logits: Tensor) -> np.ndarray:
        return logits.detach().float().softmax(-1).cpu().numpy()

    def compute(self, scores: np.ndarray, targets: np.ndarray) -> tuple[Values, list[str]]:
        return classification(scores, targets, self.labels)

    def decode(self, logits: Tensor, items: Sequence[str] = ()) -> list[dict[str, Any]]:
        return [
            {
                "label": self.labels[int(row.argmax())],
                "probabilities": dict(zip(self.labels, row.tolist(), strict=True)),
            }
            for row in self.scores(logits)
        ]
