"""The base of all tasks: a target, its loss, its metrics, and how outputs are read.

Tasks import torch only where they compute, so that they can be listed without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from adaptkit import kinds
from adaptkit.errors import RecipeError
from adaptkit.kinds import Kinds
from adaptkit.registry import nearest
from adaptkit.tasks.metric import METRICS, metrics_of

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from adaptkit.recipe import TaskTable

# B batch, O outputs

TASKS: Kinds[type[Task]] = kinds.TASKS


class Task:
    """One thing to learn.

    Args:
        name: of its table in the recipe.
        outputs: O, how many numbers the head gives.
        labels: their names; empty for regression.
        monitor: metric that chooses the best epoch; None for the default of the kind.
        weight: of its loss among several tasks.
        conventions: whose further metrics are computed; "none" for none.

    Attributes:
        metrics: name -> metric, all that are computed besides the loss.

    Raises:
        RecipeError: the monitor is no metric of this kind of task.
    """

    kind: ClassVar[str]
    default_monitor: ClassVar[str]
    collective: ClassVar[bool] = False  # a prediction depends on all samples
    threshold: float = 0.5

    def __init__(
        self,
        name: str,
        *,
        outputs: int,
        labels: tuple[str, ...] = (),
        monitor: str | None = None,
        weight: float = 1.0,
        conventions: str = "none",
    ) -> None:
        self.name, self.outputs, self.labels, self.weight = name, outputs, labels, weight
        self.conventions = conventions
        self.metrics = metrics_of(self.kind, conventions, labels)
        self.monitor = monitor or self.default_monitor
        self._check_monitor()

    @classmethod
    def build(cls, spec: TaskTable, name: str, training_targets: Sequence[Any] | None = None) -> Task:
        """The task that `[task.NAME]` asks for.

        Args:
            spec: the table.
            name: its name.
            training_targets: raw targets of the training split: the labels (where the recipe lists none) and
                the weights of the loss come from them. None where nothing is trained.

        Raises:
            RecipeError: an unknown monitor, weights that do not fit the labels, no labels and no targets.
            DataError: targets that cannot be what the recipe says.
        """
        return TASKS.named(spec.kind, where=f"task.{name}.kind").of(spec, name, training_targets)

    @classmethod
    def of(cls, spec: Any, name: str, training_targets: Sequence[Any] | None) -> Task:
        """This class, built from its table of the recipe."""
        raise NotImplementedError

    @classmethod
    def build_head(cls, spec: TaskTable, width: int, outputs: int, widths: Mapping[str, int]) -> nn.Module:
        """(B, D) -> (B, O): what makes outputs of the pooled vector.

        Args:
            spec: the table of the task.
            width: D.
            outputs: O.
            widths: modality -> E, for tasks whose head also reads a modality.
        """
        from adaptkit.tasks.heads import build_head

        return build_head(spec.head, width, outputs)

    def encode(self, values: Sequence[Any], ids: Sequence[str]) -> Tensor:
        """Raw targets as the tensor that `loss` takes.

        Raises:
            DataError: naming the sample.
        """
        raise NotImplementedError

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Scalar loss of (B, O) logits, mean over the batch, in float32."""
        raise NotImplementedError

    def scores(self, logits: Tensor) -> np.ndarray:
        """(B, O) probabilities (or values, in regression) that metrics and predictions are made from."""
        raise NotImplementedError

    def decode(self, logits: Tensor, items: Sequence[str] = ()) -> list[dict[str, Any]]:
        """One prediction per sample, as plain data.

        Args:
            logits: (B, O); of a collective task those of all samples.
            items: what the samples are about, by name, for tasks that search among them.
        """
        raise NotImplementedError

    def higher_is_better(self, metric: str) -> bool:
        """The direction of a metric that can be monitored."""
        better = {**METRICS, **self.metrics}[metric].higher_is_better
        assert better is not None, f"{metric} is a count"
        return better

    def _check_monitor(self) -> None:
        known = ["loss", *(name for name, metric in self.metrics.items() if metric.higher_is_better is not None)]
        if self.monitor in known:
            return
        named = METRICS.get(self.monitor)
        hint = nearest(self.monitor, known)
        if named is not None and self.kind in named.kinds and named.conventions:
            hint = f'Write conventions = "{named.conventions[0]}", which adds it.'
        raise RecipeError(
            f"{self.monitor!r} is no metric of {self.kind}.", where=f"task.{self.name}.monitor", hint=hint
        )
