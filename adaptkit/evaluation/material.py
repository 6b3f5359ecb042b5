"""What a model is measured with: its data, its tasks, and the way from samples to batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from adaptkit.data import DataSet, Sample
from adaptkit.data.collate import Collator
from adaptkit.evaluation.measure import Measured, measure
from adaptkit.evaluation.monitor import Monitor, build_monitor
from adaptkit.formats.load import load_data
from adaptkit.model import AdaptedModel
from adaptkit.model.tasks import build_tasks
from adaptkit.plan import Plan
from adaptkit.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Material:
    """Data and tasks of a plan.

    Attributes:
        data: the splits.
        tasks: name -> task, with the labels of the plan and the loss weights of the training split.
    """

    data: DataSet
    tasks: dict[str, Task]

    def collate(self, model: AdaptedModel, *, training: bool = False) -> Callable[[Sequence[Sample]], dict[str, Any]]:
        """Samples -> batch, with the model's encoders; for a step of training, or to measure with."""
        drop = model.plan.recipe.data.drop
        kept = model.kept.values()
        return Collator(model.encoders, self.tasks, drop, training=training, kept=kept)  # type: ignore[arg-type]

    def measure(
        self,
        model: AdaptedModel,
        split: str,
        *,
        batch_size: int | None = None,
        drop: Collection[str] = (),
        rate: float = 1.0,
        between: Callable[[], None] | None = None,
    ) -> Measured:
        """`measure` a split in the precision of the recipe and, by default, in batches of its size."""
        spec, collate = model.plan.recipe.train, self.collate(model)
        how: dict[str, Any] = {
            "drop": drop,
            "rate": rate,
            "between": between,
            "precision": spec.precision,
            "workers": spec.workers,
            "split": split,
        }
        how["batch_size"] = batch_size or spec.eval_batch_size or spec.batch_size
        parts = self.data.splits[split].parts
        if [*parts] == [""]:
            return measure(model, self.tasks, self.data.splits[split], collate, **how)
        every = [
            measure(model, {name: self.tasks[name] for name in own.tasks}, own, collate, several=True, **how)
            for _, own in parts.values()
        ]
        return Measured.of(every)

    @property
    def monitor(self) -> Monitor:
        """The number that chooses the best epoch and the best seed."""
        return build_monitor(self.tasks)

    @property
    def tests(self) -> tuple[str, ...]:
        """`test` and the further test splits, in order."""
        return tuple(name for name in self.data.splits if name == "test" or name.startswith("test_"))


def gather(plan: Plan, given: Any = None) -> Material:
    """Load the data of a plan's recipe, or take what is given instead.

    Raises:
        DataError: it is missing or does not hold what the recipe says.
    """
    data = load_data(plan.recipe, given)
    return Material(data, build_tasks(plan, data))


def droppable(plan: Plan) -> tuple[str, ...]:
    """The modalities that an ablation can leave out: what is neither the backbone's input, nor a query, nor absent."""
    absent = plan.recipe.data.drop
    return tuple(
        name
        for name, modality in plan.recipe.modality.items()
        if modality.route not in ("backbone", "query") and name not in absent
    )
