"""`[backbone]`: the pretrained model that the recipe grafts onto."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from adaptkit.kinds import Count
from adaptkit.recipe.fusion import BACKBONE, joined_names
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import IsPath, Table, Written, WrittenRecipe


class Backbone(Table):
    """The main pretrained model. Frozen, except for what `train` names."""

    model: Annotated[str, IsPath(dotted=True)] = Field(
        min_length=1,
        examples=["bert-base"],
        description='Alias ("bert-base"), hub id, local folder, or timm name ("timm/vit_base_patch16_224"); with '
        'config, a model type of transformers ("bert"); or a module of your own, "my_package.nets:build" or '
        '"./nets.py:build", which is your code and runs as such.',
    )
    config: dict[str, Any] | None = Field(
        default=None,
        examples=[{"hidden_size": 40}],
        description="Build the model from this configuration (keys of the type's configuration, or of timm's model), "
        "with random weights that depend on nothing else: every seed has the same.",
    )
    tokenizer: Annotated[str | None, IsPath(dotted=True)] = Field(
        default=None,
        examples=["bert-base"],
        description='Whose tokenizer reads the text: alias, hub id or local folder; or "small", 1,024 words that come '
        "with adaptkit, for models that are built from config. Default: the model's own.",
    )
    revision: str | None = Field(
        default=None, examples=["main"], description="Branch, tag or commit on the hub. Default: the newest."
    )
    max_tokens: Count | None = Field(
        default=None,
        examples=[128],
        description="Longest text in tokens; default: what the backbone allows.",
    )
    added_tokens: Count | None = Field(
        default=None,
        examples=[200],
        description="Rows that are added to the table of words, drawn at random from a fixed seed, as VL-T5 adds them "
        "for objects. They move where `train` names the table. Default: none.",
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
        default="auto",
        description='How the last hidden states become the one vector that the heads read. "auto": "last" for models '
        'that read from left to right or have a decoder, "first" for image models with a class token, else "mean"; '
        "adaptkit plan says which.",
    )
    prefix: Literal["plain", "mmbt"] = Field(
        default="plain",
        description='How modalities of route "tokens" go before the text: "plain" as they are; "mmbt" between [CLS] '
        "and [SEP], with a segment embedding of their own and positions that restart.",
    )
    tokens: Literal["before", "behind"] = Field(
        default="before",
        description='Where modalities of route "tokens" stand in the input: "before" the text, or "behind" it, as in '
        "VL-T5 and VL-BART: past the position embeddings and the norm of the words, and without relative positions. "
        '"behind" is for models with an encoder and a decoder.',
    )
    precision: Literal["float32", "bfloat16", "float16", "shipped"] = Field(
        default="shipped", description="Number format that the frozen weights are kept in."
    )

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        """The backbone reads at least one modality, or vectors in place of its words, and each kind at most once."""
        routes = [modality["route"] for modality in recipe.modalities.values()]
        if routes and all(route in ("side", "fusion", "query") for route in routes):
            hint = 'Write route = "backbone" for its native input.'
            yield Finding(("modality",), "no modality feeds the backbone.", hint)
        native: dict[str, str] = {}  # form of input -> the modality
        for name, modality in recipe.modalities.items():
            if modality["route"] == "backbone":
                form = getattr(modality.table, "model_input", "") or str(modality["kind"])
                first = native.setdefault(form, name)
                if first != name:
                    hint = f'{first} is it already; write route = "tokens" or "side".'
                    message = f"the backbone reads only one {modality['kind']}."
                    yield Finding(("modality", name, "route"), message, hint)
        if table["prefix"] == "mmbt" and "tokens" not in routes:
            hint = 'Give one route = "tokens", or leave prefix out.'
            yield Finding((*path, "prefix"), "no modality goes before the text.", hint)
        if table["tokens"] == "behind":
            yield from _check_behind(path, table, recipe)
        if BACKBONE in joined_names(recipe):
            message = "the backbone's own vector has this name where they meet."
            yield Finding(("modality", BACKBONE), message, "Give the modality another name.")


def _check_behind(path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
    """Something stands behind a text."""
    place = (*path, "tokens")
    routes = [modality["route"] for modality in recipe.modalities.values()]
    if "tokens" not in routes:
        yield Finding(place, "no modality has the route tokens.", 'Give one route = "tokens", or leave tokens out.')
    elif "backbone" not in routes:
        yield Finding(
            place, "there is no text to stand behind.", 'Leave tokens out, or give a text route = "backbone".'
        )
    if table["prefix"] != "plain":
        yield Finding(place, 'prefix = "mmbt" goes before the text.', "Leave one of the two out.")
