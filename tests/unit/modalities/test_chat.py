"""Conversations as ids: the traps of chat training, each a test."""

from __future__ import annotations

from typing import Any

import pytest

from adaptkit.errors import DataError, RecipeError
from adaptkit.modalities.chat.script import IGNORED, Script
from tests.unit.generation.chatting import ENDLESS, FOUND, THINKING, said, tokenizer

TALK = said("what is it?", "it is red.", "and this?", "\nit is\n\nblue.")


def script(template: str | None = None, **how: Any) -> Script:
    words = tokenizer(template) if template else tokenizer()
    settings: dict[str, Any] = {"template": None, "system": "", "learn": "all", "limit": None, "name": "chat", **how}
    return Script(lambda: words, **settings)


def learned(of: Script, messages: Any, **how: Any) -> list[str]:
    """The learned spans, as text with its special tokens."""
    told, spans = of.told(messages, "row", **how), [[]]
    for label in told.labels:
        if label == IGNORED:
            spans.append([])
        else:
            spans[-1].append(label)
    return [of.tokenizer.decode(span) for span in spans if span]


@pytest.mark.parametrize("name", FOUND)
def test_the_answers_and_their_ends_are_learned_and_nothing_else(name: str) -> None:
    found = script(FOUND[name])
    end = found.tokenizer.convert_ids_to_tokens(found.end)
    answers = [part.removesuffix(end).strip() for part in learned(found, TALK)]
    assert answers == ["it is red.", "it is\n\nblue."]
    assert all(part.endswith(end) for part in learned(found, TALK))
    assert [part.removesuffix(end).strip() for part in learned(script(FOUND[name], learn="last"), TALK)] == answers[1:]
    told = found.told(TALK, "row")
    assert all(label in (IGNORED, token) for label, token in zip(told.labels, told.ids, strict=True))
    assert told.labels[-1] == IGNORED or told.ids[-1] == found.end


@pytest.mark.parametrize("name", FOUND)
def test_a_generation_begins_with_the_ids_that_training_has_seen(name: str) -> None:
    """Also where a word of the tokenizer would span the seam: an answer that begins with a line."""
    for learn in ("all", "last"):
        found = script(FOUND[name], learn=learn)
        told, opening = found.told(TALK, "row"), found.opening(TALK, "row")
        last = max(at for at in range(len(told.ids)) if told.labels[at - 1] == IGNORED != told.labels[at])
        assert told.ids[:last] == opening
        assert found.opening(TALK[:-1], "row") == opening  # with a question at its end


@pytest.mark.parametrize("name", FOUND)
def test_the_beginning_of_a_text_is_there_once(name: str) -> None:
    found = script(FOUND[name])
    ids = found.told(TALK, "row").ids
    assert ids.count(found.tokenizer.bos_token_id) == FOUND[name].count("bos_token")


def test_a_template_that_is_applied_already_is_not_applied_twice() -> None:
    found = script()
    whole = found.tokenizer.apply_chat_template(TALK, tokenize=False)
    with pytest.raises(DataError, match=r"message 1 has '<\|im_start\|>' of the chat template in it") as caught:
        found.check(said(whole, "yes."), "train.jsonl:3")
    assert str(caught.value).startswith("train.jsonl:3")
    found.check(said("what is <b>bold</b>?", "a tag."), "row")


def test_no_answer_is_an_error_and_never_a_mask_of_zeros() -> None:
    for messages in (said("a question"), [{**message, "learned": False} for message in TALK]):
        with pytest.raises(DataError, match="no answer of an assistant is to be learned"):
            script().told(messages, "row")


def test_an_answer_may_be_left_out_of_what_is_learned() -> None:
    first = [{**TALK[1], "learned": False} if at == 1 else message for at, message in enumerate(TALK)]
    assert [part.strip() for part in learned(script(), first)] == ["it is\n\nblue.<|im_end|>"]


def test_a_template_that_never_ends_an_answer_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"no token behind an answer that ends it.* Let it write \{\{ eos_token \}\}"):
        _ = script(ENDLESS).end


def test_a_tokenizer_without_a_template_is_told_what_to_write() -> None:
    words = tokenizer(None)
    found = Script(lambda: words, template=None, system="", learn="all", limit=None, name="chat")
    with pytest.raises(RecipeError, match=r'no chat template.*template = "plain"'):
        found.opening(TALK, "row")


def test_two_tokens_may_end_an_answer() -> None:
    found = script(FOUND["llama3"])
    assert found.tokenizer.convert_ids_to_tokens(found.ends) == ["<|eot|>", "</s>"]
    assert script(FOUND["plain"]).ends == [found.tokenizer.eos_token_id]


def test_a_template_that_forgets_what_was_thought_learns_one_answer_a_step() -> None:
    with pytest.raises(DataError, match=r'not every answer can be learned.*learn = "drawn"'):
        script(THINKING).told(TALK, "row")
    last = "<think>\n\n</think>\n\n\nit is\n\nblue.<|im_end|>"
    assert learned(script(THINKING, learn="last"), TALK) == [last]
    drawn = script(THINKING, learn="drawn")
    assert learned(drawn, TALK) == [last]  # evaluation is the same every time
    seen = {learned(drawn, TALK, training=True)[0] for _ in range(40)}
    assert seen == {last, "<think>\n\n</think>\n\nit is red.<|im_end|>"}


def test_the_oldest_turns_give_way_and_never_the_question_or_the_answer() -> None:
    talk = [*said("what is it?", "it is red.", system="be short"), *said("and this?", "it is blue.")]
    whole = script().told(talk, "row")
    short = script(limit=len(whole.ids) - 1).told(talk, "row")
    assert short.left_out == 2
    assert short.ids == script().told([talk[0], *talk[3:]], "row").ids
    assert short.learned < whole.learned
    opening = script(limit=len(short.ids)).opening(talk, "row")
    assert opening == script().opening([talk[0], *talk[3:]], "row")
    with pytest.raises(DataError, match=r"row +the last question and answer have 38 tokens, and chat may have 20"):
        script(limit=20).told(talk, "row")
    with pytest.raises(DataError, match=r"the last question has \d+ tokens, and chat may have 20"):
        script(limit=20).opening(said("why? " * 20), "row")


def test_a_system_prompt_is_given_to_those_without_one() -> None:
    found = script(system="be short")
    assert found.opening(TALK, "row") == script().opening([*said(system="be short"), *TALK], "row")
    own = [*said(system="be long"), *TALK]
    assert found.opening(own, "row") == script().opening(own, "row")


def test_what_a_template_refuses_is_told_with_the_place() -> None:
    with pytest.raises(DataError, match=r"row +the chat template refuses the conversation: System role not supported"):
        script(FOUND["gemma"]).told([*said(system="be short"), *TALK], "row")
