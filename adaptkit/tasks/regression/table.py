"""The keys of `kind = "regression"`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from adaptkit.kinds import METRICS, Count
from adaptkit.kinds.words import in_toml
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Written, WrittenRecipe
from adaptkit.recipe.task import NO_SET, Conventions, Loss, LossSpec, TaskTable, sets_in


class Regression(TaskTable):
    """One or several numbers; the squared error is minimised unless `loss` says otherwise."""

    summary: ClassVar[str] = "numbers"
    set_keys: ClassVar[tuple[str, ...]] = ("conventions", "metrics")

    loss: Loss = Field(default=LossSpec(kind="mse"), description="The loss, a word or a table.")
    outputs: Count = Field(default=1, description="How many numbers a target has.")
    conventions: Conventions = Field(
        default=NO_SET,
        description='Whose metrics are added: "mosi" (CMU-MOSI and MOSEI: Acc-2 in three definitions, F1, Acc-3, -5 '
        'and -7), "sims" (CH-SIMS). Both need outputs = 1.',
    )

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        yield from super().check(path, table, recipe)
        for key, name in sets_in(cls.set_keys, table):
            wanted = METRICS.kinds[name].facts.get("outputs") if name in METRICS.kinds else None
            if wanted not in (None, table["outputs"]) and isinstance(table["outputs"], int):
                what = f"the metrics {in_toml(name)} are those of {wanted} {'number' if wanted == 1 else 'numbers'}."
                yield Finding((*path, key), what, f"Leave them out, or write outputs = {wanted}.")
