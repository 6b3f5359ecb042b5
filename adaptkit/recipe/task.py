"""`[task.NAME]`: targets, losses and heads, one class per kind of task."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from adaptkit.recipe.table import Table


def _weights(*words: str) -> BeforeValidator:
    """One of the words, or a list of non-negative numbers, one per label."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and value in words:
            return value
        plain = isinstance(value, list) and len(value) > 0
        if plain and all(isinstance(n, int | float) and not isinstance(n, bool) and n >= 0 for n in value):
            return value
        known = " or ".join(f'"{word}"' for word in words)
        raise PydanticCustomError("weights", "should be {known} or a list of numbers (one per label)", {"known": known})

    return BeforeValidator(check)


class Head(Table):
    """What turns the pooled vector into outputs."""

    kind: Literal["linear", "mlp", "residual"] = Field(
        default="linear",
        description='One linear layer; "mlp": linear, dropout, GELU, layer norm, linear; "residual": linear, ReLU, '
        "dropout, linear, plus the input, then linear (MulT's head, which Wander tunes on CMU-MOSI).",
    )
    hidden: int | None = Field(
        default=None,
        ge=1,
        examples=[768],
        description='Hidden width of "mlp" and "residual". Default: the width of the pooled vector.',
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout in the head.")
    train: bool = Field(default=True, description="Whether the head learns.")


class TaskTable(Table):
    """The keys that every task has."""

    kind: str = Field(examples=["classification"], description="What kind of target it is.")
    column: str | None = Field(default=None, description="Column of the data. Default: the task's name.")
    monitor: str | None = Field(
        default=None, description="Validation metric that chooses the best epoch. Default: the task's own."
    )
    weight: float = Field(default=1.0, gt=0, description="Weight of its loss among several tasks.")
    head: Head = Field(default=Head(), description="The output module.")


class Classification(TaskTable):
    """One label out of several."""

    kind: Literal["classification"] = Field(examples=["classification"], description="One label of several.")
    labels: list[str] | None = Field(
        default=None,
        min_length=2,
        examples=[["no", "yes"]],
        description="The labels, in order. Default: those of the training split, sorted.",
    )
    class_weight: Annotated[Literal["none", "balanced"] | list[float], _weights("none", "balanced")] = Field(
        default="none", description='Weight of each label in the loss: "none", "balanced" or a list.'
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Share of the target spread over all labels.")


class Multilabel(TaskTable):
    """Any number of labels per sample."""

    kind: Literal["multilabel"] = Field(examples=["multilabel"], description="Any number of labels.")
    labels: list[str] | None = Field(
        default=None,
        min_length=1,
        examples=[["comedy", "drama"]],
        description="The labels, in order. Default: those of the training split, sorted.",
    )
    pos_weight: Annotated[
        Literal["none", "n_over_freq", "neg_over_pos"] | list[float],
        _weights("none", "n_over_freq", "neg_over_pos"),
    ] = Field(
        default="none",
        description="Weight of positives in the loss: samples / positives, negatives / positives, or a list.",
    )
    threshold: float = Field(default=0.5, gt=0, lt=1, description="Probability from which a label is predicted.")
    conventions: Literal["none", "iemocap", "mosei_emotions"] = Field(
        default="none",
        description='Whose metrics are added: "iemocap" (accuracy and weighted F1 of every label as a yes/no '
        'problem), "mosei_emotions" (weighted accuracy and weighted F1 of every label).',
    )


class Regression(TaskTable):
    """One or several numbers."""

    kind: Literal["regression"] = Field(examples=["regression"], description="Numbers.")
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


class Retrieval(TaskTable):
    """Queries find items of a gallery, and items their queries."""

    kind: Literal["retrieval"] = Field(examples=["retrieval"], description="Queries find items of a gallery.")
    query: str = Field(
        examples=["caption"], description='The modality that asks; its route is "query". The others make the item.'
    )
    width: int = Field(default=256, ge=1, description="P, width of the space in which queries and items meet.")
    temperature: float = Field(
        default=0.07, ge=0.01, le=1, description="Of the loss, at the start; it is learned (as in CLIP, 0.01 at least)."
    )


Task = Annotated[Classification | Multilabel | Regression | Retrieval, Field(discriminator="kind")]
