"""`[backbone]`: the pretrained model that the recipe grafts onto."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from adaptkit.recipe.table import Table


class Backbone(Table):
    """The main pretrained model. Frozen, except for what `train` names."""

    model: str = Field(
        min_length=1,
        examples=["bert-base"],
        description='Alias ("bert-base"), hub id, local folder, or timm name ("timm/vit_base_patch16_224"); with '
        'config, a model type of transformers ("bert").',
    )
    config: dict[str, Any] | None = Field(
        default=None,
        examples=[{"hidden_size": 40}],
        description="Build the model from this configuration (keys of the type's configuration, or of timm's model), "
        "with random weights that depend on nothing else: every seed has the same.",
    )
    tokenizer: str | None = Field(
        default=None,
        examples=["bert-base"],
        description="Whose tokenizer reads the text: alias, hub id or local folder. Default: the model's own.",
    )
    revision: str | None = Field(
        default=None, examples=["main"], description="Branch, tag or commit on the hub. Default: the newest."
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        examples=[128],
        description="Longest text in tokens; default: what the backbone allows.",
    )
    dropout: Literal["off", "keep"] = Field(
        default="off",
        description='Dropout inside the frozen backbone: none, or "keep" as its configuration has it.',
    )
    train: list[str] = Field(
        default=[],
        examples=[["norm"]],
        description='What of the backbone moves as well: "norm", "bias", "all" or globs of parameter names.',
    )
    pool: Literal["auto", "pooler", "first", "last", "mean", "max"] = Field(
        default="auto", description="How the last hidden states become the one vector that the heads read."
    )
    prefix: Literal["plain", "mmbt"] = Field(
        default="plain",
        description='How modalities of route "tokens" go before the text: "plain" as they are; "mmbt" between [CLS] '
        "and [SEP], with a segment embedding of their own and positions that restart.",
    )
    precision: Literal["float32", "bfloat16", "float16", "shipped"] = Field(
        default="shipped", description="Number format that the frozen weights are kept in."
    )
