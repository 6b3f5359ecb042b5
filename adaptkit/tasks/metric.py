"""What a metric is, sets of further ones, and which there are. The kinds of tasks say and compute their own.

Light: numpy, scikit-learn and scipy are imported by what computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from adaptkit import kinds
from adaptkit.errors import RecipeError
from adaptkit.kinds import TASKS, Kind, Kinds
from adaptkit.recipe.task import fits

if TYPE_CHECKING:
    import numpy as np

LABEL = "LABEL"
Values = dict[str, "float | None"]

# N samples, O outputs

METRICS: Kinds[type[MetricSet]] = kinds.METRICS


class Metric(NamedTuple):
    """One named convention. Data only: the index of the kinds holds it as a list.

    Attributes:
        name: as in recipes, tables and JSON. `LABEL` in it stands for each label of the task.
        description: one line, with the convention where several are in use.
        higher_is_better: the direction of `monitor`; None for a count that cannot be monitored.
        least_labels: tasks with fewer labels do not have it.
    """

    name: str
    description: str
    higher_is_better: bool | None = True
    least_labels: int = 0

    @property
    def better(self) -> str:
        """The direction in words; "-" for a count."""
        return {True: "higher", False: "lower", None: "-"}[self.higher_is_better]


LOSS = Metric("loss", "the training loss, mean over samples", False)


class MetricSet:
    """Further metrics of a task, under a name that `metrics = ["NAME"]` (or `conventions`) in a recipe says.

    Attributes:
        tasks: the kinds of task it fits; empty for all.
        outputs: how many outputs a task must have; None for any number.
        metrics: what it computes, in the order that tables show.
    """

    tasks: ClassVar[tuple[str, ...]] = ()
    outputs: ClassVar[int | None] = None
    metrics: ClassVar[tuple[Metric, ...]]

    def compute(self, scores: np.ndarray, targets: np.ndarray, task: Any) -> tuple[Values, list[str]]:
        """A value for every metric, None where it is undefined, and why.

        Args:
            scores: (N, O) finite float64, N > 0: what `task.scores` makes of the outputs.
            targets: (N, ...) as `task.encode` makes them.
            task: with its `labels`, `outputs` and, if it has one, `threshold`.
        """
        raise NotImplementedError

    def lacking(self) -> str:
        """Why it cannot compute on this machine; "" where it can. What it gives otherwise is undefined, with a note."""
        return ""


def named(metrics: Iterable[Metric], labels: Sequence[str]) -> dict[str, Metric]:
    """Metrics by the names they have in a task with these labels."""
    found: dict[str, Metric] = {}
    for metric in metrics:
        if len(labels) >= metric.least_labels:
            names = [metric.name.replace(LABEL, label) for label in labels] if LABEL in metric.name else [metric.name]
            found |= dict.fromkeys(names, metric)
    return found


def complete(values: Values, measured: Iterable[str], task: str) -> Values:
    """Every metric that a task measures, in order.

    Raises:
        RecipeError: a set of metrics lacks one that it declares.
    """
    if lacking := [name for name in measured if name not in values]:
        message = f"the metrics {', '.join(lacking)} are declared and not computed."
        raise RecipeError(message, where=f"task.{task}")
    return {name: values[name] for name in measured}


def metrics_in(kind: Kind) -> tuple[Metric, ...]:
    """The metrics that a kind of task, or a set, declares; nothing is imported."""
    return tuple(Metric(*metric) for metric in kind.facts.get("metrics", ()))


def all_metrics() -> dict[Metric, str]:
    """Every metric -> the tasks that have it: `classification, multilabel`, or `regression (mosi)` of a set."""
    found: dict[Metric, dict[str, list[str]]] = {LOSS: {task: [] for task in TASKS.kinds}}
    for task, kind in TASKS.kinds.items():
        for metric in metrics_in(kind):
            found.setdefault(metric, {})[task] = []
        for name, further in kinds.METRICS.kinds.items():
            for metric in metrics_in(further) if fits(further, task) else ():
                found.setdefault(metric, {}).setdefault(task, []).append(name)
    return {
        metric: ", ".join(f"{task} ({', '.join(sets)})" if sets else task for task, sets in tasks.items())
        for metric, tasks in found.items()
    }
