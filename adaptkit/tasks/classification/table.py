"""The keys of `kind = "classification"`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from adaptkit.kinds import NotNegative, Share
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Written, WrittenRecipe
from adaptkit.recipe.task import TaskTable
from adaptkit.tasks.labels import label_weights, labels_fit


class Classification(TaskTable):
    """One label out of several."""

    summary: ClassVar[str] = "labels"

    labels: list[str] | None = Field(
        default=None,
        min_length=2,
        examples=[["no", "yes"]],
        description="The labels, in order. Default: those of the training split, sorted.",
    )
    class_weight: Annotated[Literal["none", "balanced"] | list[NotNegative], label_weights("none", "balanced")] = Field(
        default="none", description='Weight of each label in the loss: "none", "balanced" or a list.'
    )
    label_smoothing: Share = Field(default=0.0, description="Share of the target spread over all labels.")

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        yield from super().check(path, table, recipe)
        yield from labels_fit(path, table, "class_weight")
        if table["loss"] is not None and table["label_smoothing"] != 0:
            what = "label_smoothing belongs to the task's own loss, cross-entropy."
            yield Finding((*path, "label_smoothing"), what, "Leave it out, or loss.")
