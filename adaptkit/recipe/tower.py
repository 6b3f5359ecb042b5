"""`tower = { ... }` of a modality: the model that turns it into vectors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from adaptkit.recipe.table import IsPath, Table


class TowerSpec(Table):
    """A model of its own that turns one modality into vectors. Frozen, except for what `train` names."""

    model: Annotated[str, IsPath(dotted=True)] = Field(
        min_length=1,
        examples=["timm/resnet18"],
        description="Alias, hub id, local folder or timm name, as for the backbone; with config, a model type; or a "
        "module of your own.",
    )
    revision: str | None = Field(default=None, examples=["main"], description="Branch, tag or commit on the hub.")
    config: dict[str, Any] | None = Field(
        default=None,
        examples=[{"hidden_size": 40}],
        description="Build the model from this configuration, with random weights, as for the backbone.",
    )
    tokenizer: Annotated[str | None, IsPath(dotted=True)] = Field(
        default=None,
        examples=["bert-base"],
        description="Whose tokenizer reads the text: alias, hub id or local folder. Default: the model's own.",
    )
    train: list[str] = Field(
        default=[],
        examples=[["norm"]],
        description='What of the tower moves: "norm", "bias", "all" or globs of parameter names.',
    )
    precision: Literal["float32", "bfloat16", "float16", "shipped"] = Field(
        default="shipped", description="Number format that its weights are kept in."
    )
    dropout: Literal["off", "keep"] = Field(
        default="off", description='Dropout inside it: none, or "keep" as its configuration has it.'
    )
