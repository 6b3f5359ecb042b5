"""`[task.NAME]`: targets, losses and heads, and the keys that all kinds of task have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import Field

from adaptkit.kinds import HEADS
from adaptkit.kinds.words import in_toml
from adaptkit.recipe.adapter import own_keys
from adaptkit.recipe.kinded import OfKind
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Table, Written, WrittenRecipe


class Head(Table):
    """What turns the pooled vector into outputs."""

    kind: str = Field(default="linear", description="Which head.")
    train: bool = Field(default=True, description="Whether the head learns.")

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of its class."""
        return own_keys(self, Head)


class TaskTable(Table):
    """The keys that every task has.

    Attributes:
        many: a target is a list of labels; formats without lists split the cell.
    """

    many: ClassVar[bool] = False

    kind: str = Field(examples=["classification"], description="What kind of target it is.")
    column: str | None = Field(default=None, description="Column of the data. Default: the task's name.")
    monitor: str | None = Field(
        default=None, description="Validation metric that chooses the best epoch. Default: the task's own."
    )
    weight: float = Field(default=1.0, gt=0, description="Weight of its loss among several tasks.")
    head: Annotated[Head, OfKind(HEADS)] = Field(default=Head(), description="The output module.")

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        labels = table.words("labels")
        for label in sorted({label for label in labels if labels.count(label) > 1}):
            yield Finding((*path, "labels"), f"{in_toml(label)} is listed twice.")
