"""One label out of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adaptkit.tasks.classification.table import Classification
from adaptkit.tasks.labels import every_label_occurs, given_weights, labels_of, position
from adaptkit.tasks.metric import CLASSIFICATION
from adaptkit.tasks.task import TASKS, Task

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

# B batch, O labels


@TASKS.register(CLASSIFICATION)
class ClassificationTask(Task):
    """One label out of several: softmax and cross-entropy. Targets are (B,) int64.

    Args:
        class_weight: one weight per label in the loss, or None. `balanced` in a recipe is N / (O * n_label),
            as in scikit-learn.
        label_smoothing: share of the target spread over all labels.
    """

    table = Classification
    kind = CLASSIFICATION
    default_monitor = "accuracy"

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
        return cls(
            name,
            labels,
            class_weight=_weights(spec.class_weight, labels, training_targets, f"task.{name}"),
            label_smoothing=spec.label_smoothing,
            monitor=spec.monitor,
            weight=spec.weight,
        )

    def encode(self, values: Sequence[Any], ids: Sequence[str]) -> Tensor:
        import torch

        return torch.tensor([position(v, self._places, i) for v, i in zip(values, ids, strict=True)])

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        weight = None if self.class_weight is None else logits.new_tensor(self.class_weight).float()
        return cross_entropy(logits.float(), targets, weight, label_smoothing=self.label_smoothing)

    def scores(self, logits: Tensor) -> np.ndarray:
        return logits.detach().float().softmax(-1).cpu().numpy()

    def decode(self, logits: Tensor, items: Sequence[str] = ()) -> list[dict[str, Any]]:
        return [
            {
                "label": self.labels[int(row.argmax())],
                "probabilities": dict(zip(self.labels, row.tolist(), strict=True)),
            }
            for row in self.scores(logits)
        ]


def _weights(
    rule: str | list[float], labels: tuple[str, ...], targets: Sequence[Any] | None, where: str
) -> list[float] | None:
    if isinstance(rule, list):
        return given_weights(rule, labels, f"{where}.class_weight")
    if rule == "none" or targets is None:
        return None
    places = {label: place for place, label in enumerate(labels)}
    occurring = Counter(position(value, places, f"{where}, training target {i}") for i, value in enumerate(targets))
    counts = [occurring[place] for place in range(len(labels))]
    every_label_occurs(counts, labels, f"{where}.class_weight")
    return [len(targets) / (len(labels) * count) for count in counts]
