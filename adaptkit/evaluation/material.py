"""What a model is measured with: its data, its tasks, and the way from samples to batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adaptkit.data import DataSet, Sample, load_data
from adaptkit.data.collate import Collator
from adaptkit.model import AdaptedModel
from adaptkit.model.inference import build_tasks
from adaptkit.plan import Plan
from adaptkit.tasks import Task


@dataclass(frozen=True, slots=True)
class Material:
    """Data and tasks of a plan.

    Attributes:
        data: the splits.
        tasks: name -> task, with the labels of the plan and the loss weights of the training split.
    """

    data: DataSet
    tasks: dict[str, Task]

    def collate(self, model: AdaptedModel) -> Callable[[Sequence[Sample]], dict[str, Any]]:
        """Samples -> batch, with the model's encoders."""
        return Collator(model.encoders, self.tasks, model.plan.recipe.data.drop)  # type: ignore[arg-type]

    @property
    def tests(self) -> tuple[str, ...]:
        """`test` and the further test splits, in order."""
        return tuple(name for name in self.data.splits if name == "test" or name.startswith("test_"))


def gather(plan: Plan) -> Material:
    """Load the data of a plan's recipe.

    Raises:
        DataError: it is missing or does not hold what the recipe says.
    """
    data = load_data(plan.recipe)
    return Material(data, build_tasks(plan, data))


def droppable(plan: Plan) -> tuple[str, ...]:
    """The modalities that an ablation can leave out: what is neither the backbone's input, nor a query, nor absent."""
    absent = plan.recipe.data.drop
    return tuple(
        name
        for name, modality in plan.recipe.modality.items()
        if modality.route not in ("backbone", "query") and name not in absent
    )
