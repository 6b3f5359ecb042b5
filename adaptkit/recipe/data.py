"""`[data]`: where samples come from, one class per format."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from adaptkit.recipe.table import Table


class DataTable(Table):
    """The keys that every format has."""

    format: str = Field(examples=["jsonl"], description="How the data is stored.")


class DigitQuestions(DataTable):
    """Yes/no questions in English about scikit-learn's scans of handwritten digits; made on the fly."""

    format: Literal["digit_questions"] = Field(
        examples=["digit_questions"], description="Questions about handwritten digits; needs no download."
    )
    seed: int = Field(default=0, ge=0, description="Seed of the split and of the questions drawn.")
    images_validation: float = Field(default=0.15, gt=0, lt=1, description="Share of the images for validation.")
    images_test: float = Field(default=0.2, gt=0, lt=1, description="Share of the images for testing.")
    questions_per_image: int = Field(default=12, ge=1, description="Questions asked about each image.")

    @model_validator(mode="after")
    def _leaves_training_images(self) -> Self:
        if self.images_validation + self.images_test >= 1:
            raise PydanticCustomError(
                "shares",
                "images_validation and images_test leave no image for training: their sum must be below 1",
            )
        return self


class Jsonl(DataTable):
    """One JSON object per line: columns are text, numbers, labels, vectors or paths relative to the file."""

    format: Literal["jsonl"] = Field(examples=["jsonl"], description="One JSON object per line.")
    root: str | None = Field(
        default=None,
        examples=["data/mine"],
        description="Folder of the data, relative to the recipe file. Default: the recipe's folder.",
    )
    train: str = Field(default="train.jsonl", min_length=1, description="File of the training split.")
    validation: str = Field(default="validation.jsonl", min_length=1, description="File of the validation split.")
    test: str = Field(default="test.jsonl", min_length=1, description="File of the test split.")


Data = Annotated[DigitQuestions | Jsonl, Field(discriminator="format")]
