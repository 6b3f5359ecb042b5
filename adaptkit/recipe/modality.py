"""`[modality.NAME]`: the named input streams of a sample, and the keys that all kinds of them have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from adaptkit.kinds import ENCODERS, PROJECTIONS, Share
from adaptkit.kinds.words import in_toml
from adaptkit.recipe.adapter import own_keys
from adaptkit.recipe.cells import VALUE, CellForm
from adaptkit.recipe.kinded import OfKind
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Table, Written, WrittenRecipe
from adaptkit.recipe.task import TaskTable, queries_in
from adaptkit.recipe.tower import TowerSpec

Pool = Annotated[
    Literal["none", "mean", "max", "first", "attention"],
    Field(
        description="How the T vectors of a sample become one; with none, all T are kept. "
        '"attention": weighted by a learned query.'
    ),
]
TowerOf = Annotated[
    TowerSpec | None,
    Field(description="A pretrained model of its own that turns the input into vectors. Default: none."),
]


class EncoderSpec(Table):
    """What makes tokens of raw values, where no tower does."""

    kind: str = Field(examples=["rows"], description="Which encoder.")

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of its class."""
        return own_keys(self, EncoderSpec)


class ProjectionSpec(Table):
    """What makes input tokens of the vectors, on route "tokens"."""

    kind: str = Field(default="linear", description="Which projection.")

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of its class."""
        return own_keys(self, ProjectionSpec)


def encoder_for(modality: str) -> OfKind:
    """Annotates `encoder` in the table of a kind of modality: those that serve it."""
    return OfKind(ENCODERS, short=True, having=("modality", modality))


class ModalityTable(Table):
    """The keys that every modality has.

    Attributes:
        native: a backbone may read it as it is (route "backbone").
        sequence: read so, it is a sequence of tokens that other modalities can join.
        holds_answers: on this route, what tasks that generate are to say stands in its own column.
        summary: what `data check` and `data stats` show of its column: "text", "vectors", "labels", "answers",
            "numbers", or "gaps" (only whether it is there).
        model_input: the form of input of models that its batches have, for a backbone or a tower: "text", "image",
            "audio", or "features" that stand for a text model's words; "" where no model reads them.
        cell_form: what a cell of its column may be.
        reads: the kinds of columns of a store that it can be read from; none: all.
        free_keys: keys that may be other ones than those of the modality it starts from (`init_from`): its vectors mean
            the same. A tower, and what the encoder's `preprocessing` tells, are compared as they are, not as written.
    """

    native: ClassVar[bool] = False
    sequence: ClassVar[bool] = False
    holds_answers: ClassVar[bool] = False
    summary: ClassVar[str] = "gaps"
    model_input: ClassVar[str] = ""
    cell_form: ClassVar[CellForm] = VALUE
    reads: ClassVar[tuple[str, ...]] = ()
    free_keys: ClassVar[frozenset[str]] = frozenset(
        {
            *("route", "column", "missing", "modality_dropout", "train", "max_tokens", "keep", "seconds"),
            *("projection", "tower", "size", "channels", "mean", "std", "sampling_rate"),
        }
    )

    kind: str = Field(examples=["text"], description="What the column holds.")
    route: Literal["backbone", "tokens", "side", "fusion", "query"] = Field(
        examples=["side"],
        description='Where its vectors go: "backbone" (its native input), "tokens" (projected into its input '
        'sequence), "side" (side input of adapters), "fusion" (meets the others after the backbone), "query" (read '
        "by the head of a task only).",
    )
    column: str | None = Field(default=None, description="Column of the data. Default: the modality's name.")
    missing: Literal["error", "zero", "mean", "learned"] = Field(
        default="error", description="What stands in for an absent value."
    )
    modality_dropout: Share = Field(
        default=0.0,
        description='Share of samples whose value is dropped in training; needs "missing".',
    )
    projection: Annotated[ProjectionSpec, OfKind(PROJECTIONS, short=True)] = Field(
        default=ProjectionSpec(), description='On route "tokens": what makes input tokens of the vectors.'
    )
    train: bool = Field(
        default=True,
        description="Whether the parameters of its own learn: the learned stand-in, attention pooling, embeddings, "
        "the projection into the sequence. Not the tower's, which has a key of its own.",
    )

    @property
    def cells(self) -> tuple[str, ...]:
        """The columns that make one value together; none where it lies in a column of its own."""
        return ()

    def examples(self, name: str) -> Iterator[tuple[str, str, str]]:
        """For a model card: every column of it, an example of a value as Python writes it, and what it may be."""
        value, note = self._example
        yield self.column or name, value, note + ("" if self.missing == "error" else "; None if absent")

    @property
    def _example(self) -> tuple[str, str]:
        """A value, and what it may be."""
        return "...", f"a value of kind {self.kind}"

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        name, route = str(path[1]), table["route"]
        if route == "backbone":
            yield from cls._check_native(path, table)
        if route == "side" and name not in sides_read(recipe):
            hint = f"Write sides = [{in_toml(name)}] in an adapter, or give it another route."
            yield Finding((*path, "route"), "no adapter reads this side.", hint)
        if route == "query" and name not in asked(recipe):
            hint = f"Write query = {in_toml(name)} in a task that has this key, or give it another route."
            yield Finding((*path, "route"), "no task reads this query.", hint)
        if route != "tokens" and kind_of(table["projection"]) != kind_of(cls.model_fields["projection"].default):
            hint = 'Leave projection out, or write route = "tokens".'
            yield Finding((*path, "projection"), "only vectors that become input tokens are projected.", hint)
        if table.get("tower") is not None and table.is_written("encoder"):
            yield from cls._check_encoder(path, table)
        dropout = table["modality_dropout"]
        if isinstance(dropout, int | float) and dropout > 0 and table["missing"] == "error":
            hint = 'Write missing = "zero", "mean" or "learned".'
            yield Finding((*path, "modality_dropout"), "nothing is said to stand in for a dropped value.", hint)

    @classmethod
    def _check_encoder(cls, path: Path, table: Written) -> Iterator[Finding]:
        if kind_of(table["encoder"]) != kind_of(cls.model_fields["encoder"].default):
            yield Finding((*path, "encoder"), "a tower makes its own tokens.", "Leave encoder out.")

    @classmethod
    def _check_native(cls, path: Path, table: Written) -> Iterator[Finding]:
        """The backbone's own input: raw, and read by the backbone alone."""
        if not cls.native:
            if cls is not ModalityTable:  # else the kind is unknown, which is told already
                hint = 'Write route = "tokens" (its input sequence), "side" (adapters) or "fusion".'
                yield Finding((*path, "route"), f"{table['kind']} is no native input of a backbone.", hint)
            return
        if table.get("tower") is not None:
            hint = 'Leave tower out, or write route = "tokens", "side" or "fusion".'
            yield Finding((*path, "tower"), "the backbone reads this modality itself.", hint)
        if table.get("pool", "none") != "none":
            hint = "Leave pool out; backbone.pool says how the last hidden states become one vector."
            yield Finding((*path, "pool"), "the backbone reads every token.", hint)


def kind_of(written: Any) -> Any:
    """The word that a table, or what is short for it, names."""
    return written.get("kind") if isinstance(written, Mapping) else getattr(written, "kind", written)


def sides_read(recipe: WrittenRecipe) -> set[str]:
    """What the adapters read: sides, and the towers whose blocks are sides."""
    read = {side for table in recipe.adapters.values() for side in table.words("sides")}
    return read | {side.partition("@")[0].partition(".")[0] for side in read if "@" in side}


def asked(recipe: WrittenRecipe) -> set[str]:
    """The modalities that a task reads besides the vector of its sample."""
    found: set[str] = set()
    for task in recipe.tasks.values():
        if issubclass(task.table, TaskTable):
            found.update(queries_in(task.table.query_keys, task))
    return found
