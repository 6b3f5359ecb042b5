"""`[task.NAME]`: targets, losses and heads, and the keys that all kinds of task have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from adaptkit.errors import nearest
from adaptkit.kinds import HEADS, LOSSES, METRICS, TASKS, Count, Kind, Positive
from adaptkit.kinds.words import in_toml
from adaptkit.recipe.adapter import own_keys
from adaptkit.recipe.kinded import OfKind
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Table, Written, WrittenRecipe

NO_SET = "none"


class Head(Table):
    """What turns the pooled vector into outputs."""

    kind: str = Field(default="linear", description="Which head.")
    train: bool = Field(default=True, description="Whether the head learns.")

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of its class."""
        return own_keys(self, Head)


class LossSpec(Table):
    """What is minimised."""

    kind: str = Field(examples=["mse"], description="Which loss.")

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of its function."""
        return own_keys(self, LossSpec)


Loss = Annotated[LossSpec | None, OfKind(LOSSES, short=True)]


@dataclass(frozen=True, slots=True)
class NamesMetricSet:
    """Marks a text that names a registered set of metrics; editors complete it.

    Attributes:
        others: words that it may be as well.
    """

    others: tuple[str, ...] = ()

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "enum": [*self.others, *METRICS.kinds]}


Conventions = Annotated[str, NamesMetricSet((NO_SET,))]


class TaskTable(Table):
    """The keys that every task has.

    Attributes:
        many: a target is a list of labels; formats without lists split the cell.
        summary: what `data check` and `data stats` show of its column: "labels", "numbers", "text", "vectors", or
            "gaps" (only whether it is there).
        query_keys: keys that name a modality which the head reads besides the vector of the sample.
        set_keys: keys that name sets of further metrics.
        generates: what it gives is text, by the backbone's own head; it has none of its own.
    """

    many: ClassVar[bool] = False
    summary: ClassVar[str] = "gaps"
    query_keys: ClassVar[tuple[str, ...]] = ()
    set_keys: ClassVar[tuple[str, ...]] = ("metrics",)
    generates: ClassVar[bool] = False

    kind: str = Field(examples=["classification"], description="What kind of target it is.")
    column: str | None = Field(default=None, description="Column of the data. Default: the task's name.")
    source: str | None = Field(
        default=None,
        examples=["films"],
        description="Of several sources of data, which one has it. Default: the one with the task's name.",
    )
    batch_size: Count | None = Field(
        default=None,
        examples=[500],
        description="Samples per forward pass in training, of the smallest of the tasks of a source. "
        "Default: train.batch_size.",
    )
    monitor: str | None = Field(
        default=None, description="Validation metric that chooses the best epoch. Default: the task's own."
    )
    monitor_scale: Positive = Field(
        default=1.0,
        examples=[0.7],
        description="What counts as 1 of the monitored metric, in the mean over the tasks that chooses the best epoch.",
    )
    metrics: list[Annotated[str, NamesMetricSet()]] = Field(
        default=[], examples=[["film_f1"]], description="Sets of further metrics that are computed, by name."
    )
    weight: Positive = Field(default=1.0, description="Weight of its loss among several tasks.")
    loss: Loss = Field(
        default=None, examples=["mse"], description="The loss, a word or a table. Default: the task's own."
    )
    head: Annotated[Head, OfKind(HEADS)] = Field(default=Head(), description="The output module.")

    def with_decoding(self, changes: Mapping[str, Any]) -> Self:
        """The same with other keys for generating, where it does."""
        return self

    @property
    def answer_tokens(self) -> int:
        """Most tokens of what it generates."""
        return 0

    @property
    def queries(self) -> tuple[str, ...]:
        """The modalities that the head reads besides the vector of the sample."""
        return tuple(queries_in(self.query_keys, vars(self)))

    @property
    def sets(self) -> tuple[str, ...]:
        """The sets of further metrics, in the order of their keys."""
        return tuple(name for _, name in sets_in(self.set_keys, vars(self)))

    @property
    def further_kinds(self) -> tuple[Kind, ...]:
        """What it names by a word: no table of its own tells of it."""
        return tuple(METRICS.kinds[name] for name in self.sets)

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        if str(table["kind"]) not in TASKS.kinds:
            return  # which is told already
        if table.is_written("source") and "sources" not in recipe.at("data"):
            yield Finding((*path, "source"), "the data has one source only.", "Leave it out.")
        sets = list(sets_in(cls.set_keys, table))
        for key, name in sets:
            if (found := set_misfit(name, str(table["kind"]))) is not None:
                yield Finding((*path, key), *found)
            if key != next(other for other, same in sets if same == name) or table[key].count(name) > 1:
                yield Finding((*path, key), f"{in_toml(name)} is named twice.")
        loss = OfKind(LOSSES, short=True).kind(LossSpec, table["loss"])
        if loss is not None and not fits(loss, str(table["kind"])):
            what = f"the loss {in_toml(loss.name)} is for {' and '.join(loss.facts['tasks'])}."
            fitting = [name for name, other in LOSSES.kinds.items() if fits(other, str(table["kind"]))]
            yield Finding((*path, "loss"), what, f"Leave it out, or choose of {in_toml(fitting)}." if fitting else "")


def queries_in(keys: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[str]:
    """The modalities that these keys name, in a table as it was written or as it was read."""
    yield from (table[key] for key in keys if isinstance(table.get(key), str))


def sets_in(keys: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, set of metrics) of every one that these keys name."""
    for key in keys:
        value = table.get(key)
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and value != NO_SET:
                yield key, name


def fits(kind: Kind, task: str) -> bool:
    """Whether a loss or a set of metrics is made for this kind of task: it says so by its fact `tasks`."""
    tasks = kind.facts.get("tasks", ())
    return not tasks or task in tasks


def set_misfit(name: str, task: str) -> tuple[str, str] | None:
    """Message and hint where no set of metrics of this name fits this kind of task."""
    fitting = [known for known, kind in METRICS.kinds.items() if fits(kind, task)]
    if name not in METRICS.kinds:
        return f"there is no set of metrics {in_toml(name)}.", nearest(name, fitting)
    if name not in fitting:
        tasks = METRICS.kinds[name].facts["tasks"]
        return f"the metrics {in_toml(name)} are for {' and '.join(tasks)}.", nearest(name, fitting)
    return None
