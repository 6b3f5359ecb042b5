"""The keys of `kind = "regression"`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from adaptkit.recipe.task import TaskTable


class Regression(TaskTable):
    """One or several numbers."""

    loss: Literal["l1", "mse", "huber"] = Field(default="mse", description="The loss.")
    outputs: int = Field(default=1, ge=1, description="How many numbers a target has.")
    conventions: Literal["none", "mosi", "sims"] = Field(
        default="none",
        description='Whose metrics are added: "mosi" (CMU-MOSI and MOSEI: Acc-2 in three definitions, F1, Acc-3, -5 '
        'and -7), "sims" (CH-SIMS). Both need outputs = 1.',
    )

    @model_validator(mode="after")
    def _one_number(self) -> Self:
        if self.conventions != "none" and self.outputs != 1:
            raise PydanticCustomError(
                "conventions", 'conventions are those of one number per sample: write outputs = 1, or "none"'
            )
        return self
