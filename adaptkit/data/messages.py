"""Conversations in the shapes that files hold them in, as one list of messages: who says what.

A message is {"role": "system" | "user" | "assistant" | "tool", "content": text}, with "learned": False where the file
says that its words are not to be learned. Other keys (`name`, `tool_calls`, ...) go to the template as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adaptkit.data.media import taken_out
from adaptkit.errors import DataError, nearest

Message = dict[str, Any]

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt", "function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "tool_response"), "tool"),
}
AFTER = {"": ("user",), "user": ("assistant",), "assistant": ("user", "tool"), "tool": ("assistant", "tool")}
LISTS = ("messages", "conversations", "conversation")  # keys with a list of messages, or of rounds
PAIRS = (("prompt", "completion"), ("prompt", "response"), ("instruction", "output"), ("query", "response"))
BESIDE = ("system", "history", "input", "images", "videos", "audios")
WRITTEN = frozenset((*LISTS, *(key for pair in PAIRS for key in pair), *BESIDE))  # the keys of a conversation
LEARNED = ("learned", "loss", "train", "weight")  # of a message: whether, or how much, it is learned
SHAPES = (
    '"messages" (a list of {"role", "content"}), "conversations" (a list of {"from", "value"}), "prompt" with '
    '"completion" or "response", "instruction" with "output", or "query" with "response"'
)


def messages_of(
    record: Mapping[str, Any], where: str, *, answered: bool = False
) -> tuple[list[Message], dict[str, Any]]:
    """The conversation of a record, and the images (or sounds, films) that its parts name, as `media.taken_out` does.

    Args:
        record: in one of `SHAPES`.
        where: it lies, for errors.
        answered: what is said behind the last answer is left out: nothing follows from it.

    Raises:
        DataError: of no such shape, an unknown role, roles out of order, a message without a text, no answer where
            there is to be one.
    """
    told = [_message(entry, number, where) for number, entry in enumerate(_entries(record, where), 1)]
    messages, media = taken_out(told, record, where)
    if answered:
        last = max((at for at, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
        messages = messages[: last + 1]
        if not messages:
            hint = "A training needs an assistant's words to learn."
            raise DataError("the conversation has no answer of an assistant.", where=where, hint=hint)
    check_order(messages, where)
    return messages, media


def check_order(messages: Sequence[Message], where: str) -> None:
    """A system prompt or none, then user and assistant by turns; tools speak between two words of an assistant.

    Raises:
        DataError: it is otherwise, or a message says nothing.
    """
    before = ""
    for number, message in enumerate(messages, 1):
        role = message["role"]
        if role == "system" and number == 1:
            continue
        if role not in AFTER[before]:
            place, expected = f"after the {before}" if before else "first", " or ".join(AFTER[before])
            message = f"message {number} is of the {role}, and {place} comes the {expected}."
            hint = "A conversation is a system prompt or none, then user and assistant by turns."
            raise DataError(message, where=where, hint=hint)
        if role != "tool" and not message["content"].strip() and not message.get("tool_calls"):
            raise DataError(f"message {number}, of the {role}, is empty.", where=where)
        before = role
    if not before:
        raise DataError("the conversation has no message of a user.", where=where)


def last_answer(value: Any) -> str | None:
    """The last thing that an assistant says in a conversation; None of what is no conversation, or has no answer."""
    if not is_conversation(value):
        return None
    said = [message["content"] for message in value if message["role"] == "assistant"]
    return said[-1] if said else None


def is_conversation(value: Any) -> bool:
    """Whether a value is a list of messages as `messages_of` gives them."""
    return isinstance(value, list) and bool(value) and all(isinstance(m, Mapping) and "role" in m for m in value)


def is_learned(message: Mapping[str, Any]) -> bool:
    """Whether a message is an answer whose words train."""
    return message["role"] == "assistant" and message.get("learned", True)


def _entries(record: Mapping[str, Any], where: str) -> Iterator[Any]:
    """The messages of a record as they are written, in order."""
    system, named = record.get("system"), next((key for key in LISTS if record.get(key) is not None), None)
    if record.get("tools"):
        hint = "Write what the model has to know of them into the system prompt."
        raise DataError("the conversation has `tools`, which are put into no template yet.", where=where, hint=hint)
    if system:
        yield {"role": "system", "content": system}
    if named is not None:
        yield from _of_list(record[named], named, bool(system), where)
        return
    whole = [pair for pair in PAIRS if all(record.get(key) is not None for key in pair)]
    asked = [pair for pair in PAIRS if record.get(pair[0]) is not None]  # to be answered
    for pair in (whole or asked)[:1]:
        yield from _of_pair(record, *pair, where)
        return
    raise DataError("there is no conversation.", where=where, hint=f"A conversation is {SHAPES}.")


def _of_list(entries: Any, key: str, has_system: bool, where: str) -> Iterator[Any]:
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{key} is no list of messages.", where=where, hint=f"A conversation is {SHAPES}.")
    for number, entry in enumerate(entries, 1):
        if isinstance(entry, Mapping) and not {"role", "from"} & entry.keys() and entry.keys() & ROLES.keys():
            yield from ({"role": role, "content": said} for role, said in entry.items())  # a round: {human, assistant}
            continue
        if has_system and number == 1 and isinstance(entry, Mapping) and _role(entry) == "system":
            message = "there are two system prompts, in `system` and in the first message."
            raise DataError(message, where=where, hint="Leave one out.")
        yield entry


def _of_pair(record: Mapping[str, Any], asked: str, answered: str, where: str) -> Iterator[Any]:
    for pair in record.get("history") or ():
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise DataError("history is no list of [question, answer].", where=where)
        yield {"role": "user", "content": pair[0]}
        yield {"role": "assistant", "content": pair[1]}
    question, answer = record[asked], record.get(answered)
    if isinstance(question, str) and record.get("input"):
        question = f"{question}\n{record['input']}"
    for role, said in (("user", question), ("assistant", answer)):
        if isinstance(said, list):
            yield from said
        elif said is not None:
            yield {"role": role, "content": said}


def _role(entry: Mapping[str, Any]) -> str | None:
    return ROLES.get(str(entry.get("role", entry.get("from"))).lower())


def _message(entry: Any, number: int, where: str) -> Message:
    """A message as it is written, its content still text or parts."""
    if not isinstance(entry, Mapping) or not ({"role", "from"} & entry.keys()):
        hint = 'Write {"role": "user", "content": "..."}, or {"from": "human", "value": "..."}.'
        raise DataError(f"message {number} says not who speaks.", where=where, hint=hint)
    role, content = _role(entry), entry.get("content", entry.get("value"))
    if role is None:
        named = str(entry.get("role", entry.get("from")))
        raise DataError(f"message {number} has the unknown role {named!r}.", where=where, hint=nearest(named, ROLES))
    if content is None and entry.get("tool_calls"):
        content = ""
    if not isinstance(content, str | list):
        raise DataError(f"the content of message {number} is neither text nor parts.", where=where)
    marks = [entry[key] for key in LEARNED if entry.get(key) is not None]
    rest = {key: value for key, value in entry.items() if key not in ("role", "from", "content", "value", *LEARNED)}
    learned = {} if all(marks) else {"learned": False}
    return {"role": role, "content": content, **rest, **learned}
