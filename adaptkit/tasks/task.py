"""The base of all tasks: a target, its loss, its metrics, and how outputs are read.

Tasks import torch only where they compute, so that they can be listed without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from adaptkit import kinds
from adaptkit.errors import RecipeError, nearest
from adaptkit.kinds import Kinds
from adaptkit.recipe.task import fits, set_misfit
from adaptkit.tasks.metric import LOSS, METRICS, Metric, MetricSet, Values, complete, metrics_in, named
from adaptkit.tasks.outcome import Arrays, Outcome
from adaptkit.tasks.targets import Encodes

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from adaptkit.recipe import TaskTable

# B batch, O outputs, N samples

TASKS: Kinds[type[Task]] = kinds.TASKS


class Task(Encodes):
    """One thing to learn.

    Args:
        name: of its table in the recipe.
        outputs: O, how many numbers the head gives.
        labels: their names; empty for regression.
        monitor: metric that chooses the best epoch; None for the default of the kind.
        weight: of its loss among several tasks.
        loss: (logits, targets) -> scalar; None for the task's own.
        sets: names of sets of further metrics.
        monitor_scale: what counts as 1 of the monitor, in the mean over several tasks.

    Attributes:
        table: its keys.
        kind: the word in the recipe.
        default_monitor: what is monitored unless the recipe says so.
        metrics: what `compute` gives.
        collective: a prediction depends on all samples.
        measured: name -> metric, all that are computed besides the loss, in order.

    Raises:
        RecipeError: the monitor is no metric of this task, or a set of metrics does not fit it.
    """

    table: ClassVar[type[TaskTable]]
    kind: ClassVar[str]
    default_monitor: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]] = ()
    collective: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        *,
        outputs: int,
        labels: tuple[str, ...] = (),
        monitor: str | None = None,
        weight: float = 1.0,
        loss: Callable[..., Tensor] | None = None,
        sets: Iterable[str] = (),
        monitor_scale: float = 1.0,
    ) -> None:
        self.name, self.outputs, self.labels, self.weight = name, outputs, labels, weight
        self.chosen_loss, self.monitor_scale = loss, monitor_scale
        self.sets = {further: self._set(further) for further in sets}
        self.measured = self._measured()
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
    def shared(cls, spec: TaskTable) -> dict[str, Any]:
        """The keyword arguments that every task has, from the keys that every table has."""
        loss = None
        if spec.loss is not None:
            from adaptkit.tasks.losses import build_loss

            loss = build_loss(spec.loss)
        told = {"monitor": spec.monitor, "monitor_scale": spec.monitor_scale, "weight": spec.weight}
        return {**told, "loss": loss, "sets": spec.sets}

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

    def outcome(self) -> Outcome:
        """What collects the outputs of a split."""
        return Arrays(self)

    def loss(self, logits: Tensor, targets: Any) -> Tensor:
        """Scalar loss of (B, O) logits, mean over the batch, in float32: that of the recipe, or the task's own."""
        if self.chosen_loss is None:
            return self.own_loss(logits, targets)
        weights = self.label_weights
        further = {} if weights is None else {"weights": logits.new_tensor(weights).float()}  # (O,)
        return self.chosen_loss(logits.float(), targets, **further)

    def own_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss where the recipe names none."""
        raise NotImplementedError

    @property
    def label_weights(self) -> Sequence[float] | None:
        """(O,) weights per label that a loss is to take; None for none."""
        return None

    def scores(self, logits: Tensor) -> np.ndarray:
        """(B, O) probabilities (or values, in regression) that metrics and predictions are made from."""
        raise NotImplementedError

    def compute(self, scores: np.ndarray, targets: np.ndarray) -> tuple[Values, list[str]]:
        """The task's own metrics; scikit-learn is imported here at the earliest.

        Args:
            scores: (N, O) finite float64, N > 0: what `scores` made.
            targets: (N, ...) as encoded.

        Returns:
            metric -> value, None where undefined; why.
        """
        raise NotImplementedError

    def measure(self, scores: np.ndarray, targets: np.ndarray) -> tuple[Values, list[str]]:
        """Every metric in the order of `measured`, and a note for each that is undefined or leaves something out.

        Raises:
            RecipeError: a set of metrics lacks one that it declares.
        """
        import numpy as np

        assert len(scores) == len(targets), f"{len(scores)} scores for {len(targets)} targets"
        if len(targets) == 0:
            return dict.fromkeys(self.measured), ["there are no samples, so no metric is defined"]
        if not np.isfinite(scores).all():
            return dict.fromkeys(self.measured), ["the outputs are not all finite, so no metric is defined"]
        scores, targets = np.asarray(scores, dtype=np.float64), np.asarray(targets)
        values, notes = self.compute(scores, targets)
        for further in self.sets.values():
            more, told = further.compute(scores, targets, self)
            values, notes = values | more, notes + told
        return complete(values, self.measured, self.name), notes

    def decode(self, logits: Any, items: Sequence[str] = ()) -> list[dict[str, Any]]:
        """One prediction per sample, as plain data.

        Args:
            logits: (B, O); of a collective task those of all samples.
            items: what the samples are about, by name, for tasks that search among them.
        """
        raise NotImplementedError

    def higher_is_better(self, metric: str) -> bool:
        """The direction of a metric that can be monitored."""
        better = {LOSS.name: LOSS, **self.measured}[metric].higher_is_better
        assert better is not None, f"{metric} is a count"
        return better

    def _set(self, name: str) -> MetricSet:
        where = f"task.{self.name}.metrics"
        if (found := set_misfit(name, self.kind)) is not None:
            raise RecipeError(found[0], where=where, hint=found[1])
        further = METRICS[name]()
        if further.outputs not in (None, self.outputs):
            message = f"the metrics {name!r} are those of {further.outputs} outputs, and the task has {self.outputs}."
            raise RecipeError(message, where=where, hint=f"Leave them out, or write outputs = {further.outputs}.")
        return further

    def _measured(self) -> dict[str, Metric]:
        """The task's own metrics, then those of the sets; one name stands for one metric."""
        found = named(self.metrics, self.labels)
        for name, further in self.sets.items():
            more = named(further.metrics, self.labels)
            taken = [metric for metric in more if {LOSS.name: LOSS, **found}.get(metric, more[metric]) != more[metric]]
            if taken:
                message = f"the metrics {name!r} compute {taken[0]!r}, which is the name of another metric."
                raise RecipeError(message, where=f"task.{self.name}.metrics", hint="Give it another name.")
            found |= more
        return found

    def _check_monitor(self) -> None:
        known = [LOSS.name, *(name for name, metric in self.measured.items() if metric.higher_is_better is not None)]
        if self.monitor in known:
            return
        hint = nearest(self.monitor, known)
        for name, kind in METRICS.kinds.items():
            if fits(kind, self.kind) and self.monitor in named(metrics_in(kind), self.labels):
                hint = f"Write {self._set_key(name)}, which adds it."
        raise RecipeError(
            f"{self.monitor!r} is no metric of {self.kind}.", where=f"task.{self.name}.monitor", hint=hint
        )

    def _set_key(self, name: str) -> str:
        """How a recipe names a set of metrics."""
        key = TASKS[self.kind].table.set_keys[0]
        return f'metrics = ["{name}"]' if key == "metrics" else f'{key} = "{name}"'
