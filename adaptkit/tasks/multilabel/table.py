"""The keys of `kind = "multilabel"`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from adaptkit.kinds import NotNegative
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Written, WrittenRecipe
from adaptkit.recipe.task import NO_SET, Conventions, TaskTable
from adaptkit.tasks.labels import label_weights, labels_fit


class Multilabel(TaskTable):
    """Any number of labels per sample."""

    many: ClassVar[bool] = True
    summary: ClassVar[str] = "labels"
    set_keys: ClassVar[tuple[str, ...]] = ("conventions", "metrics")

    labels: list[str] | None = Field(
        default=None,
        min_length=1,
        examples=[["comedy", "drama"]],
        description="The labels, in order. Default: those of the training split, sorted.",
    )
    pos_weight: Annotated[
        Literal["none", "n_over_freq", "neg_over_pos"] | list[NotNegative],
        label_weights("none", "n_over_freq", "neg_over_pos"),
    ] = Field(
        default="none",
        description="Weight of positives in the loss: samples / positives, negatives / positives, or a list.",
    )
    threshold: float = Field(default=0.5, gt=0, lt=1, description="Probability from which a label is predicted.")
    conventions: Conventions = Field(
        default=NO_SET,
        description='Whose metrics are added: "iemocap" (accuracy and weighted F1 of every label as a yes/no '
        'problem), "mosei_emotions" (weighted accuracy and weighted F1 of every label).',
    )

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        yield from super().check(path, table, recipe)
        yield from labels_fit(path, table, "pos_weight")
