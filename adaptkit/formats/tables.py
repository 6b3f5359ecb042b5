"""The keys of `[data]` for each format. Apart from the readers, so that checking them imports nothing heavy."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from adaptkit.kinds import Depth, Seed
from adaptkit.recipe.data import DataTable, Root
from adaptkit.recipe.table import IsPath


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
