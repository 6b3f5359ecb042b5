"""The keys of `kind = "generation"`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from annotated_types import Interval
from pydantic import Field, ValidationError

from adaptkit.errors import UsageError, nearest
from adaptkit.kinds import Count, Depth, Natural, Positive, Seed, Share
from adaptkit.kinds.key import Number
from adaptkit.kinds.words import in_toml
from adaptkit.recipe.places import Finding, Path, Places
from adaptkit.recipe.table import Table, Written, WrittenRecipe
from adaptkit.recipe.task import TaskTable

TEXT = "{text}"  # of a prompt: where the text of the sample goes
ONLY_SAMPLING = ("temperature", "top_k", "top_p", "seed")
ONLY_BEAMS = ("length_penalty", "early_stopping")
NOT_WITH_CHOICES = ("beams", "do_sample", "returned", "stop", "repetition_penalty", "no_repeat_ngram_size")
NO_EFFECT = "has no effect: a conversation has one answer at a time."


class Decoding(Table):
    """How answers are generated; the words are those of transformers."""

    max_new_tokens: Count | None = Field(
        default=None, examples=[20], description="Most tokens of an answer. Default: the task's max_tokens."
    )
    beams: Depth = Field(default=1, description="Continuations that beam search keeps; 1 is greedy.")
    returned: Depth = Field(default=1, description="Answers that a prediction has, the best first.")
    do_sample: bool = Field(default=False, description="Draw every token instead of taking the likeliest.")
    temperature: Positive = Field(default=1.0, description="Divides the logits that tokens are drawn by.")
    top_k: Natural = Field(default=0, description="Draw among so many likeliest tokens; 0: all.")
    top_p: Annotated[float, Interval(gt=0, le=1)] = Field(
        default=1.0, description="Draw among the likeliest tokens that have this probability together."
    )
    seed: Seed = Field(default=0, description="Of what is drawn.")
    repetition_penalty: Positive = Field(
        default=1.0, description="Divides the scores of tokens that were used; above 1 against repetition."
    )
    no_repeat_ngram_size: Natural = Field(default=0, description="No n tokens in a row occur twice; 0: they may.")
    length_penalty: Number = Field(
        default=1.0, description="Beams compare log-probability / length^penalty; above 0 longer answers gain."
    )
    early_stopping: bool = Field(default=False, description="Whether beams end as soon as there are enough answers.")
    stop: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[], examples=[["\n"]], description="Texts that end an answer; they are no part of it."
    )
    choices: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[],
        examples=[["true", "false"]],
        description="The only answers there are: the likeliest one as a whole is given, and nothing is generated.",
    )
    validation_samples: Count | Literal["all"] = Field(
        default=200,
        description="Samples of the validation split that answers are generated for after each epoch, spread over it; "
        "loss and perplexity are always of all.",
    )

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        if table.words("choices"):
            for key in (key for key in NOT_WITH_CHOICES if table.differs(key)):
                yield Finding((*path, key), "nothing is generated where choices says all answers.", "Leave it out.")
            if len(set(table.words("choices"))) < max(2, len(table["choices"])):
                yield Finding((*path, "choices"), "should be two or more different answers.")
            return
        if table["do_sample"] is False:
            for key in (key for key in ONLY_SAMPLING if table.differs(key)):
                yield Finding((*path, key), "has no effect: nothing is drawn.", "Write do_sample = true.")
        beams, returned = table["beams"], table["returned"]
        if beams == 1:
            for key in (key for key in ONLY_BEAMS if table.differs(key)):
                yield Finding((*path, key), "has no effect without beams.", "Write beams = 4, for example.")
        numbers = isinstance(beams, int) and isinstance(returned, int)
        if numbers and returned > beams and (beams > 1 or table["do_sample"] is False):
            hint = f"Write beams = {returned}" + (", or do_sample = true." if beams == 1 else " or more.")
            yield Finding((*path, "returned"), f"{beams} beams give no {returned} answers.", hint)


class Generation(TaskTable):
    """Text, by the backbone's own language-model head."""

    generates: ClassVar[bool] = True
    summary: ClassVar[str] = "text"

    prompt: str = Field(
        default=TEXT,
        examples=["vqa: {text}"],
        description="What the backbone reads before it answers: {text} is the text of the sample.",
    )
    max_tokens: Count = Field(
        default=64,
        description="Longest target in tokens, the end token included; a longer one is cut before it. In a "
        "conversation no target is cut, and this is the most that is generated.",
    )
    draw: Literal["score", "uniform", "first"] = Field(
        default="score",
        description="Of a target with several answers, which one is learned in a step: drawn by their scores, drawn, "
        "or always the first. Evaluation compares with all.",
    )
    weight_by: Literal["none", "score"] = Field(
        default="none", description="What multiplies the loss of a sample: nothing, or the score of the drawn answer."
    )
    average: Literal["samples", "tokens"] = Field(
        default="samples",
        description="What the loss is the mean of: every sample's own mean over its tokens, or all tokens of a step.",
    )
    label_smoothing: Share = Field(default=0.0, description="Share of the target spread over all words.")
    decoding: Decoding = Field(default=Decoding(), description="How answers are generated.")

    @property
    def answer_tokens(self) -> int:
        choices = bool(self.decoding.choices)
        return max(self.max_tokens, 0 if choices else self.decoding.max_new_tokens or 0)

    def with_decoding(self, changes: Mapping[str, Any]) -> Self:
        """The same with other decoding.

        Raises:
            UsageError: a key that there is not, or a value that it cannot have.
        """
        idle = ONLY_SAMPLING if changes.get("do_sample") is False else ()
        idle += ONLY_BEAMS if changes.get("beams") == 1 else ()  # the recipe's, for another way of decoding
        written = {**self.decoding.model_dump(exclude=set(idle)), **changes}
        try:
            decoding = Decoding.model_validate(written)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            hint = nearest(key, Decoding.model_fields) if key not in Decoding.model_fields else ""
            raise UsageError(f"{key}: {first['msg']}.", where="decoding", hint=hint) from None
        for finding in Decoding.check(("decoding",), Written(written, Decoding), WrittenRecipe({}, {})):
            problem = finding.problem(Places())
            raise UsageError(problem.message, where="generate", hint=problem.hint)
        return self.model_copy(update={"decoding": decoding})

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        yield from super().check(path, table, recipe)
        if table.differs("head"):
            yield Finding((*path, "head"), "text comes from the backbone's own head.", "Leave head out.")
        if table["loss"] is not None:
            yield Finding((*path, "loss"), "its loss is the cross-entropy of the words.", "Leave loss out.")
        prompt = table["prompt"]
        if isinstance(prompt, str) and prompt.count(TEXT) > 1:
            yield Finding((*path, "prompt"), f"the text of a sample stands once, and {in_toml(prompt)} has it twice.")
        if any(getattr(modality.table, "holds_answers", False) for modality in recipe.modalities.values()):
            reasons = {"prompt": "the chat template says what is read.", "draw": NO_EFFECT, "weight_by": NO_EFFECT}
            for key in (key for key in reasons if table.differs(key)):
                yield Finding((*path, key), reasons[key], f"Leave {key} out.")
        if all(getattr(other.table, "generates", False) for other in recipe.tasks.values()):
            yield from unread(recipe)


def unread(recipe: WrittenRecipe) -> Iterator[Finding]:
    """What comes after the backbone's hidden states, which nothing reads where all tasks generate."""
    hint = 'Write route = "side" or "tokens".'
    for name, modality in recipe.modalities.items():
        if modality["route"] == "fusion":
            what = "it joins the vector that heads read, and no task of the recipe has a head."
            yield Finding(("modality", name, "route"), what, hint)
    for name, adapter in recipe.adapters.items():
        at: Any = adapter["at"]
        if "fusion" in ([at] if isinstance(at, str) else at if isinstance(at, list) else []):
            what = "it changes what heads read after the backbone, and no task of the recipe has a head."
            yield Finding(("adapter", name, "at"), what, 'Write at = "final.out" or another site of the backbone.')
    backbone = recipe.at("backbone")
    if "prefix" in backbone and backbone.differs("prefix"):
        what = "the arrangement has the [CLS] of an encoder, and text is generated by a decoder."
        yield Finding(("backbone", "prefix"), what, "Leave prefix out.")
    if "pool" in backbone and backbone.differs("pool"):
        yield Finding(("backbone", "pool"), "no task of the recipe reads a pooled vector.", "Leave pool out.")
