"""What goes to the backbone itself: whether it can read that, and where it may stand."""

from __future__ import annotations

from typing import Any

from adaptkit.anatomy import InputSpec, ModelRef
from adaptkit.errors import RecipeError
from adaptkit.recipe import Recipe

# What configurations of transformers call the size of the window that an attention sees.
WINDOWS = ("attention_window", "local_radius", "block_size")


def check_behind(recipe: Recipe, ref: ModelRef, model: Any, spec: InputSpec) -> None:
    """Raise RecipeError where tokens cannot stand behind the text without a position.

    A stack that reads from left to right would take them for what comes next, and one that attends within windows for
    the neighbours of the last words.
    """
    if recipe.backbone.tokens != "behind":
        return
    windows = [key for key in WINDOWS if getattr(getattr(model, "config", None), key, None) is not None]
    why = "has none" if spec.form != "encoder_decoder" else f"attends within windows ({windows[0]})" if windows else ""
    if why:
        raise RecipeError(
            f'tokens = "behind" needs an encoder in which words see each other everywhere; {ref.name} {why}.',
            where=recipe.where("backbone.tokens"),
            hint='Write tokens = "before", or take a backbone such as bart-base or t5-base.',
        )


def check_native(recipe: Recipe, ref: ModelRef, spec: InputSpec) -> None:
    """Route "backbone" must give the backbone what it reads; route "tokens" needs a text sequence.

    That at least one modality, and at most one of each kind, takes the route "backbone" is the recipe's own check.
    """
    for name, modality in recipe.modality.items():
        where = recipe.where(f"modality.{name}.route")
        if modality.route == "tokens" and not spec.takes_vectors:
            text = "text" in spec.kinds and spec.own is not None
            raise RecipeError(
                f'modality.{name}.route = "tokens" needs a backbone that reads text'
                f"{', and takes inputs_embeds in its place' if text else ''}; {ref.name} does not.",
                where=where,
                hint='Write route = "side" or "fusion".',
            )
        if modality.route == "backbone" and modality.holds_answers and spec.form == "encoder_decoder":
            raise RecipeError(
                f"{ref.name} reads a question in one stack and answers in another, so it learns no conversation.",
                where=where,
                hint="Take a decoder (llama, qwen2, gemma3_text, gpt2).",
            )
        if modality.route == "backbone" and modality.model_input not in spec.kinds:
            raise RecipeError(
                f"{ref.name} reads {' and '.join(spec.kinds)}, and modality.{name} is {modality.kind}.",
                where=where,
                hint='Write route = "side", "tokens" or "fusion", or take another backbone.',
            )
