"""The keys of `[data]` for each format. Apart from the readers, so that checking them imports nothing heavy."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from adaptkit.data.messages import WRITTEN, messages_of
from adaptkit.errors import DataError, nearest
from adaptkit.kinds import FORMATS, Depth, Positive, Seed
from adaptkit.kinds.words import in_toml
from adaptkit.recipe.cells import CONVERSATION
from adaptkit.recipe.data import DataTable, Root
from adaptkit.recipe.kinded import OfKind
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import IsPath, Written, WrittenRecipe


class DigitQuestions(DataTable):
    """Yes/no questions in English about scikit-learn's scans of handwritten digits; made on the fly."""

    seed: Seed = Field(default=0, description="Seed of the split and of the questions drawn.")
    images_validation: float = Field(default=0.15, gt=0, lt=1, description="Share of the images for validation.")
    images_test: float = Field(default=0.2, gt=0, lt=1, description="Share of the images for testing.")
    questions_per_image: Depth = Field(default=12, description="Questions asked about each image.")

    @model_validator(mode="after")
    def _leaves_training_images(self) -> Self:
        if self.images_validation + self.images_test >= 1:
            raise PydanticCustomError(
                "shares",
                "images_validation and images_test leave no image for training: their sum must be below 1",
            )
        return self


class DigitWords(DigitQuestions):
    """Questions in English about scikit-learn's scans of handwritten digits, answered in words; made on the fly."""

    questions_per_image: Depth = Field(default=6, description="Questions asked about each image.")


class Jsonl(DataTable):
    """One JSON object per line: columns are text, numbers, labels, vectors or paths relative to the file."""

    root: Root = None
    train: str = Field(default="train.jsonl", min_length=1, description="File of the training split.")
    validation: str = Field(default="validation.jsonl", min_length=1, description="File of the validation split.")
    test: str = Field(default="test.jsonl", min_length=1, description="File of the test split.")


class Chat(Jsonl):
    """Conversations, one JSON object per line, in the usual shapes: messages, ShareGPT, prompt and completion, ..."""

    faulty: Literal["error", "skip"] = Field(
        default="error",
        description="What becomes of a line that holds no conversation: unknown roles, roles out of order, no text. It "
        'ends in an error, or is left out and counted ("skip").',
    )

    def record(
        self, record: Mapping[str, Any], where: str, columns: Collection[str], *, answered: bool = False
    ) -> Mapping[str, Any]:
        """The conversation in the column `messages`, and the files that its words name in columns of their own."""
        messages, media = messages_of(record, where, answered=answered)
        for name in media:
            if name not in columns:
                hint = f'Write [modality.{name}] with a route such as "tokens" or "side".'
                raise DataError(f"the conversation shows {name}, and no modality reads it.", where=where, hint=hint)
        rest = {key: value for key, value in record.items() if key in columns or key not in WRITTEN}
        return {**rest, CONVERSATION: messages, **media}


class Csv(DataTable):
    """Comma- or tab-separated files with a header: cells are text, numbers, labels, JSON lists or paths."""

    root: Root = None
    train: str = Field(default="train.csv", min_length=1, description="File of the training split.")
    validation: str = Field(default="validation.csv", min_length=1, description="File of the validation split.")
    test: str = Field(default="test.csv", min_length=1, description="File of the test split.")
    delimiter: str = Field(default=",", min_length=1, max_length=1, description='Between cells; "\\t" for tabs.')
    list_separator: str = Field(
        default="|", min_length=1, description="Between the labels of one cell, for a multilabel task."
    )


class Parquet(DataTable):
    """Parquet files: columns are text, numbers, labels, lists of numbers, images or paths."""

    root: Root = None
    train: str = Field(default="train.parquet", min_length=1, description="File of the training split.")
    validation: str = Field(default="validation.parquet", min_length=1, description="File of the validation split.")
    test: str = Field(default="test.parquet", min_length=1, description="File of the test split.")


class HuggingFace(DataTable):
    """A folder of Hugging Face `datasets`, written by `DatasetDict.save_to_disk`."""

    root: Annotated[str, IsPath()] = Field(
        min_length=1, examples=["data/mine"], description="The folder, relative to the recipe file."
    )
    train: str = Field(default="train", min_length=1, description="Name of the training split in it.")
    validation: str = Field(default="validation", min_length=1, description="Name of the validation split in it.")
    test: str = Field(default="test", min_length=1, description="Name of the test split in it.")


class Mixture(DataTable):
    """Several sources, each with tasks of its own; every batch is of one source."""

    sources: dict[str, Annotated[DataTable, OfKind(FORMATS, "format", besides=("mixture",))]] = Field(
        min_length=2,
        examples=[{"films": {"format": "jsonl", "root": "data/films"}}],
        description="Where each source comes from, by name: a task reads the one that its `source` names.",
    )
    mixing: Literal["proportional", "balanced", "temperature"] = Field(
        default="proportional",
        description='How many batches of an epoch are of each source: all of every source once ("proportional"), of '
        'each equally many ("balanced"), or shares as of size^(1/temperature).',
    )
    temperature: Positive = Field(
        default=2.0, description="For mixing by temperature: 1 is proportional, and the larger the more balanced."
    )

    def sources_of_tasks(self, tasks: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        return {name: (task.source or name,) for name, task in tasks.items()}

    def batches(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """As many as of all sources once, up to rounding; at least one of each."""
        if self.mixing == "proportional":
            return dict(sizes)
        power = 0.0 if self.mixing == "balanced" else 1 / self.temperature
        weights = {name: size**power for name, size in sizes.items()}
        unit = sum(sizes.values()) / sum(weights.values())
        return {name: max(1, round(weight * unit)) for name, weight in weights.items()}

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        yield from super().check(path, table, recipe)
        if len(path) > 1:
            yield Finding(path, "a source cannot have sources itself.", "Write them beside it.")
            return
        sources = table["sources"] if isinstance(table["sources"], dict) else {}
        asked = {str(task["source"] or name): name for name, task in recipe.tasks.items()}
        for source, task in asked.items():
            if source not in sources:
                message = f"reads the source {in_toml(source)}, and there is none of this name."
                yield Finding(("task", task), message, f"Write source. {nearest(source, sources)}")
        for source in sources:
            if source not in asked:
                yield Finding((*path, "sources", source), "no task reads this source.", "Leave it out.")
        if table["mixing"] != "temperature" and table["temperature"] != cls.model_fields["temperature"].default:
            hint = 'Write mixing = "temperature", or leave it out.'
            yield Finding((*path, "temperature"), "has no effect on this mixing.", hint)
