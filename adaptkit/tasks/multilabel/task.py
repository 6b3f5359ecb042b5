"""Any number of labels per sample."""

from __future__ import annotations

from collections.abc import Sequence
from reprlib import repr
from typing import TYPE_CHECKING, Any, ClassVar

from adaptkit.errors import DataError
from adaptkit.tasks.labels import labels_of, position, weights_of
from adaptkit.tasks.metric import Metric, Values
from adaptkit.tasks.multilabel.metrics import METRICS, multilabel
from adaptkit.tasks.multilabel.table import Multilabel
from adaptkit.tasks.task import TASKS, Task

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

# B batch, O labels

FORMULAS = {
    "n_over_freq": lambda n, with_label: n / with_label,
    "neg_over_pos": lambda n, with_label: n / with_label - 1,
}


@TASKS.register("multilabel")
class MultilabelTask(Task):
    """Any number of labels: sigmoid and binary cross-entropy, mean over all. Targets are (B, O) of 0 and 1.

    Args:
        pos_weight: one weight per label for its positives, or None. In a recipe `n_over_freq` is N / n_label
            (as in the MMBT and Multimodal-Adapters code), `neg_over_pos` is (N - n_label) / n_label.
        threshold: probability from which a label is predicted.
    """

    table = Multilabel
    kind = "multilabel"
    default_monitor = "ap_micro"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS

    def __init__(
        self,
        name: str,
        labels: tuple[str, ...],
        *,
        pos_weight: Sequence[float] | None = None,
        threshold: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(name, outputs=len(labels), labels=labels, **common)
        self.pos_weight, self.threshold = pos_weight, threshold
        self._places = {label: place for place, label in enumerate(labels)}

    @classmethod
    def of(cls, spec: Any, name: str, training_targets: Sequence[Any] | None) -> MultilabelTask:
        targets = None
        if training_targets is not None:
            targets = [list(value) if isinstance(value, list | tuple) else [] for value in training_targets]
        found = None if targets is None else [label for of_sample in targets for label in of_sample]
        labels = labels_of(spec.labels, found, task=name, least=1)
        return cls(
            name,
            labels,
            pos_weight=weights_of(spec.pos_weight, labels, targets, FORMULAS, f"task.{name}.pos_weight"),
            threshold=spec.threshold,
            **cls.shared(spec),
        )

    def encode(self, values: Sequence[Any], ids: Sequence[str]) -> Tensor:
        import torch

        targets = torch.zeros(len(values), self.outputs)  # (B, O)
        for row, (value, where) in enumerate(zip(values, ids, strict=True)):
            for label in _listed(value, where):
                targets[row, position(label, self._places, where)] = 1.0
        return targets

    def own_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        from torch.nn.functional import binary_cross_entropy_with_logits

        weight = None if self.pos_weight is None else logits.new_tensor(self.pos_weight).float()
        return binary_cross_entropy_with_logits(logits.float(), targets.float(), pos_weight=weight)

    @property
    def label_weights(self) -> Sequence[float] | None:
        return self.pos_weight

    def scores(self, logits: Tensor) -> np.ndarray:
        return logits.detach().float().sigmoid().cpu().numpy()

    def compute(self, scores: np.ndarray, targets: np.ndarray) -> tuple[Values, list[str]]:
        return multilabel(scores, targets.astype("int64"), self.threshold)

    def decode(self, logits: Tensor, items: Sequence[str] = ()) -> list[dict[str, Any]]:
        return [
            {
                "labels": [label for label, p in zip(self.labels, row, strict=True) if p >= self.threshold],
                "probabilities": dict(zip(self.labels, row.tolist(), strict=True)),
            }
            for row in self.scores(logits)
        ]


def _listed(value: Any, where: str) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    raise DataError(
        f"the labels {repr(value)} are not a list.",
        where=where,
        hint='Write ["drama"], and [] for a sample without labels.',
    )
