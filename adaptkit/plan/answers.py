"""Of a recipe whose tasks generate: what its backbone reads before an answer, how long that may be, who gives it."""

from __future__ import annotations

from typing import Any

from torch import nn

from adaptkit.anatomy import InputSpec
from adaptkit.anatomy.model_input import has_head
from adaptkit.errors import RecipeError
from adaptkit.plan.order import Order
from adaptkit.recipe import Recipe


def prompts_of(recipe: Recipe) -> dict[str, Any]:
    """What the backbone reads of a text, for the tasks that generate: `prompt`, and `prompts` where sources differ.

    Raises:
        RecipeError: tasks of one source read it differently.
    """
    prompts = {name: getattr(task, "prompt", "") for name, task in recipe.task.items() if task.generates}
    sources = recipe.data.sources_of_tasks(recipe.task)
    first: dict[tuple[str, ...], str] = {}
    for name, prompt in prompts.items():
        if prompt != first.setdefault(sources.get(name, ()), prompt):
            raise RecipeError(
                "the tasks of one source of data read one prompt, and another task has another one.",
                where=recipe.where(f"task.{name}.prompt"),
                hint="Write the same prompt in all tasks of a source that generate.",
            )
    longest = max(prompts.values(), key=len, default="{text}")
    return {"prompt": longest, "prompts": prompts if len(set(prompts.values())) > 1 else {}}


def answer_tokens(recipe: Recipe) -> int:
    """A, most tokens that the backbone writes; 0 where no task generates."""
    return max((task.answer_tokens for task in recipe.task.values()), default=0)


def check_generates(model: nn.Module, name: str, spec: InputSpec, where: str) -> None:
    """Raise RecipeError for a backbone that gives no text."""
    why = "" if has_head(model) else "has no language-model head"
    if not why and not (spec.causal or spec.form == "encoder_decoder"):
        why = "reads in both directions at once"
    if why:
        hint = "Take a decoder (gpt2, llama, qwen2) or an encoder-decoder (bart, t5)."
        raise RecipeError(f"{name} {why}, so it generates no text.", where=where, hint=hint)


def check_order(recipe: Recipe, order: Order) -> None:
    """Raise RecipeError where a tower would have to run in step with a backbone that writes one word after another."""
    waiting = [name for name in order[-1] if name]
    if waiting and any(task.generates for task in recipe.task.values()):
        name = waiting[0]
        raise RecipeError(
            f"the tower of {name} reads blocks of the backbone, which runs once for every word that it writes.",
            where=recipe.where(f"modality.{name}"),
            hint="Let adapters in the backbone read the tower, not the other way round.",
        )
