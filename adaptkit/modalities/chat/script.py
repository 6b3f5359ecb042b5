"""Conversations as ids: a chat template, which ids an assistant said, and what is left out of a long one.

Every answer is found by what the template writes before it and behind it: the text up to the generation prompt is the
beginning of the text with the answer. No marker is looked for in the words, and the ids that a generation begins with
are exactly those that training has seen there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from jinja2 import TemplateError

from adaptkit.data.messages import Message, check_order, is_learned
from adaptkit.errors import DataError, RecipeError

IGNORED = -100  # a label that is no label: what nobody learns
PROBE: tuple[Message, ...] = ({"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"})


@dataclass(frozen=True, slots=True)
class Told:
    """A conversation as a model learns it.

    Attributes:
        ids: of its tokens, up to the end of the last answer that is learned.
        labels: the same, IGNORED where no answer is.
        left_out: messages that did not fit.
    """

    ids: list[int]
    labels: list[int]
    left_out: int

    @property
    def learned(self) -> int:
        """How many tokens train."""
        return sum(label != IGNORED for label in self.labels)

    @property
    def start(self) -> int:
        """Of the first answer."""
        return next(at for at, label in enumerate(self.labels) if label != IGNORED)


class Script:
    """What a tokenizer and a chat template make of conversations.

    Args:
        tokenizer: gives it when first needed.
        template: in Jinja; None for the tokenizer's own.
        system: prompt of conversations without one; "" for none.
        learn: whose answers: "all", "last", or "drawn": a step learns one of them.
        limit: most tokens; None for any number.
        name: of the modality, for errors.
    """

    def __init__(
        self,
        tokenizer: Callable[[], Any],
        *,
        template: str | None,
        system: str,
        learn: str,
        limit: int | None,
        name: str,
    ) -> None:
        self._load, self.template, self.system, self.learn = tokenizer, template, system, learn
        self.limit, self.name = limit, name

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, loaded when first used.

        Raises:
            RecipeError: no template is known for it.
        """
        found = self._load()
        if self.template is None and not getattr(found, "chat_template", None):
            raise RecipeError(
                "the tokenizer has no chat template.",
                where=f"modality.{self.name}.template",
                hint='Write template = "plain", which any tokenizer can, or take the tokenizer of a chat model.',
            )
        return found

    @cached_property
    def end(self) -> int:
        """Id of the token that the template writes behind an answer: it is learned, and ends a generation.

        Raises:
            RecipeError: it writes none, so no answer would ever end.
        """
        try:
            before, after = self._text(PROBE[:1], ask=True), self._text(PROBE)
            ids = self._ids(after[len(before) :] if after.startswith(before) else "")
        except TemplateError as error:
            raise self._refused(str(error)) from None
        ends = [token for token in ids if token in self._specials]
        if not ends:
            raise self._refused("it writes no token behind an answer that ends it", "Let it write {{ eos_token }}.")
        return ends[-1]

    @property
    def ends(self) -> list[int]:
        """Ids of the tokens that end a generation: the template's, and the tokenizer's own."""
        own = self.tokenizer.eos_token_id
        return [self.end] if own in (None, self.end) else [self.end, own]

    @cached_property
    def marks(self) -> list[str]:
        """The tokens that the template writes itself: a text that has them was written by it already."""
        found = dict.fromkeys(self._ids(self._text(PROBE)))
        return [self.tokenizer.convert_ids_to_tokens(token) for token in found if token in self._specials]

    @cached_property
    def _specials(self) -> set[int]:
        added = getattr(self.tokenizer, "added_tokens_decoder", {}).items()
        return {*self.tokenizer.all_special_ids, *(token for token, word in added if word.special)}

    def check(self, messages: Sequence[Message], where: str) -> None:
        """Raise DataError for a conversation that is none, or that a template was applied to already."""
        check_order(messages, where)
        for number, message in enumerate(messages, 1):
            for mark in (mark for mark in self.marks if mark in message["content"]):
                hint = "Give the words alone: the template is applied to them here, and would be there twice."
                raise DataError(f"message {number} has {mark!r} of the chat template in it.", where=where, hint=hint)

    def opening(self, messages: Sequence[Message], where: str) -> list[int]:
        """What a model reads before it answers: up to the last answer, or to the end, and the generation prompt.

        Raises:
            DataError: the last question alone is too long; the template refuses the conversation.
        """
        whole, ids = self._with_system(messages), []
        whole = whole[:-1] if whole[-1]["role"] == "assistant" else whole
        for kept in self._shorter(whole):
            text, found = self._rendered(kept, where, ask=True), self._seams(kept, where)
            ids = self._joined(found.ids, found.text, text) if text.startswith(found.text) else self._ids(text)
            if self.limit is None or len(ids) <= self.limit:
                return ids
        raise self._too_long(f"the last question has {len(ids):,} tokens", where)

    def told(self, messages: Sequence[Message], where: str, *, training: bool = False) -> Told:
        """What a model learns of a conversation.

        Args:
            messages: it.
            where: it lies, for errors.
            training: the answer of a step may be drawn, by Python's generator; else it is the last one.

        Raises:
            DataError: no answer is to be learned; the last question and answer alone are too long; the template
                refuses the conversation, or writes earlier answers otherwise than the last one.
        """
        whole, ids = self._with_system(messages), []
        learned = [at for at, message in enumerate(whole) if is_learned(message)]
        if not learned:
            hint = "A training needs an assistant's words to learn."
            raise DataError("no answer of an assistant is to be learned.", where=where, hint=hint)
        drawn = training and self.learn == "drawn"
        whole = whole[: 1 + (random.choice(learned) if drawn else learned[-1])]
        for kept in self._shorter(whole):
            ids, labels = self._labelled(kept, where, every=self.learn == "all")
            if self.limit is None or len(ids) <= self.limit:
                return Told(ids, labels, len(whole) - len(kept))
        raise self._too_long(f"the last question and answer have {len(ids):,} tokens", where)

    def whole(self, messages: Sequence[Message], where: str) -> int:
        """Tokens of a conversation of which nothing is left out."""
        return len(self._ids(self._rendered(self._with_system(messages), where)))

    def answer(self, told: Told) -> str:
        """What the last answer of a conversation says once it is ids."""
        stop = max(at for at, label in enumerate(told.labels) if label != IGNORED)
        start = max(at for at in range(stop + 1) if told.labels[at] != IGNORED and told.labels[at - 1] == IGNORED)
        return self.tokenizer.decode(told.labels[start:stop], skip_special_tokens=True)

    def _labelled(self, messages: list[Message], where: str, *, every: bool) -> tuple[list[int], list[int]]:
        """Ids, and labels of the learned answers or of the last one, each up to its end token."""
        last = len(messages) - 1
        wanted = [at for at, message in enumerate(messages) if is_learned(message)] if every else [last]
        found = self._seams(messages, where)
        if last not in found.spans and wanted == [last]:  # only the last answer has to stand where it is written
            found = self._seams(messages, where, only=last)
        if last not in found.spans:
            raise DataError(
                "the chat template writes earlier messages otherwise once there are later ones, so not every answer "
                "can be learned where it stands.",
                where=where,
                hint=f'Write modality.{self.name}.learn = "drawn" (one answer a step) or "last".',
            )
        labels = [IGNORED] * len(found.ids)
        for start, stop in (found.spans[at] for at in wanted):
            stop = self._end_of(found.ids[:stop], start, where)
            labels[start:stop] = found.ids[start:stop]
        return found.ids, labels

    def _seams(self, messages: list[Message], where: str, only: int | None = None) -> _Seams:
        """The ids up to the last answer, joined where a generation would begin; of one answer only, or of them all.

        Empty where what is written of earlier messages depends on later ones.
        """
        text, ids, spans = "", [], {}
        for at in (at for at, message in enumerate(messages) if message["role"] == "assistant" and only in (None, at)):
            before, after = self._rendered(messages[:at], where, ask=True), self._rendered(messages[: at + 1], where)
            if not before.startswith(text) or not after.startswith(before):
                return _Seams([], "", {})
            ids = self._joined(ids, text, before)
            start, ids = len(ids), self._joined(ids, before, after)
            text, spans[at] = after, (start, len(ids))
        return _Seams(ids, text, spans)

    def _end_of(self, ids: list[int], start: int, where: str) -> int:
        """Index behind the end token of the answer that begins at `start` and is the last one."""
        for at in range(len(ids) - 1, start - 1, -1):
            if ids[at] == self.end:
                return at + 1
        word = self.tokenizer.convert_ids_to_tokens(self.end)
        raise DataError(f"the chat template writes no {word!r} behind an answer here.", where=where)

    def _joined(self, ids: list[int], text: str, longer: str) -> list[int]:
        """Ids of the longer text, that begin with those of the text, although a word might span the seam."""
        whole = self._ids(longer)
        return whole if whole[: len(ids)] == ids else ids + self._ids(longer[len(text) :])

    def _shorter(self, messages: list[Message]) -> Iterator[list[Message]]:
        """The conversation, then without its oldest turn, its two oldest, ... down to the last question."""
        head = messages[: int(messages[0]["role"] == "system")]
        starts = [at for at, message in enumerate(messages) if message["role"] == "user"]
        return (head + messages[at:] for at in starts)

    def _with_system(self, messages: Sequence[Message]) -> list[Message]:
        own = not self.system or messages[0]["role"] == "system"
        return [*messages] if own else [{"role": "system", "content": self.system}, *messages]

    def _rendered(self, messages: Sequence[Message], where: str, *, ask: bool = False) -> str:
        try:
            return self._text(messages, ask=ask)
        except TemplateError as error:
            raise DataError(f"the chat template refuses the conversation: {error}.", where=where) from None

    def _text(self, messages: Sequence[Message], *, ask: bool = False) -> str:
        plain = [{key: value for key, value in message.items() if key != "learned"} for message in messages]
        how = {"chat_template": self.template, "tokenize": False, "add_generation_prompt": ask}
        return self.tokenizer.apply_chat_template(plain, **how)

    def _ids(self, text: str) -> list[int]:
        # The template writes the beginning of texts itself: the tokenizer would write it a second time.
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _refused(self, why: str, hint: str = "") -> RecipeError:
        message = f"the chat template cannot be used: {why.removesuffix('.')}."
        return RecipeError(message, where=f"modality.{self.name}.template", hint=hint)

    def _too_long(self, what: str, where: str) -> DataError:
        hint = f"Raise modality.{self.name}.max_tokens, or leave the conversation out."
        return DataError(f"{what}, and {self.name} may have {self.limit:,}.", where=where, hint=hint)


class _Seams(NamedTuple):
    """Ids and text up to the last answer; the index of a message -> (start, stop) of its answer's ids."""

    ids: list[int]
    text: str
    spans: dict[int, tuple[int, int]]
