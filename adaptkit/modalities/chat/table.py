"""The keys of `kind = "chat"`: conversations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from adaptkit.errors import nearest
from adaptkit.kinds import Count
from adaptkit.modalities.chat.templates import TEMPLATES
from adaptkit.recipe.cells import CONVERSATION, VALUE, CellForm
from adaptkit.recipe.modality import ModalityTable
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Written, WrittenRecipe

OWN = "tokenizer"


class ChatModality(ModalityTable):
    """A conversation, which the backbone reads in the form of a chat template, and whose answers it learns."""

    native: ClassVar[bool] = True
    sequence: ClassVar[bool] = True
    holds_answers: ClassVar[bool] = True
    summary: ClassVar[str] = "text"
    model_input: ClassVar[str] = "text"
    cell_form: ClassVar[CellForm] = VALUE
    free_keys: ClassVar[frozenset[str]] = ModalityTable.free_keys | {"system", "learn"}

    route: Literal["backbone"] = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default="backbone", description="Where it goes: the backbone reads conversations itself."
    )
    column: str | None = Field(default=CONVERSATION, description="Column of the data.")
    template: str = Field(
        default=OWN,
        examples=["plain"],
        description='How messages become one text: "tokenizer" (its own template), a word for one of adaptkit\'s own '
        f"({', '.join(TEMPLATES)}), or a template itself, in Jinja as tokenizers have it.",
    )
    system: str = Field(
        default="",
        examples=["You answer in one sentence."],
        description="System prompt of conversations that have none of their own.",
    )
    learn: Literal["all", "last", "drawn"] = Field(
        default="all",
        description="Which answers of a conversation are learned: all of them, the last one, or one that is drawn for "
        "every step (for templates that write earlier answers otherwise than the last; evaluation takes the last).",
    )
    max_tokens: Count | None = Field(
        default=None,
        examples=[2048],
        description="Longest conversation in tokens, answers included; of a longer one the oldest turns are left out. "
        "Default: what the backbone allows.",
    )

    @property
    def _example(self) -> tuple[str, str]:
        return '[{"role": "user", "content": "some text"}]', "a conversation"

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        yield from super().check(path, table, recipe)
        template = table["template"]
        if isinstance(template, str) and "{" not in template and template not in (OWN, *TEMPLATES):
            hint = f"{nearest(template, (OWN, *TEMPLATES))} Or write the template itself, between three quotes."
            yield Finding((*path, "template"), "there is no template of this name.", hint)
        if not any(getattr(task.table, "generates", False) for task in recipe.tasks.values()):
            hint = 'Write [task.reply] with kind = "generation".'
            yield Finding((*path, "kind"), "no task answers in the conversation.", hint)
