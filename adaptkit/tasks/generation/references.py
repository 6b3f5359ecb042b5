"""The targets of a task that generates: one text, or several answers with scores."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

from adaptkit.data.messages import last_answer
from adaptkit.errors import DataError
from adaptkit.tasks.text_metrics.references import ANSWERS, has_fields

FORMS = 'a text, a list of texts, a table {"two": 0.6}, a list of {"answer": ...}, or {"answers": one of these, ...}'


class Reference(NamedTuple):
    """One answer that is right, and how right."""

    text: str
    score: float = 1.0


def references_of(value: Any, where: str) -> list[Reference]:
    """The answers of a raw target that are right, if only a little; none of an empty list or table.

    Of a conversation it is the last thing that its assistant says.

    Raises:
        DataError: it is of no form that says answers.
    """
    if has_fields(value):
        value = value[ANSWERS]
    value = value if (said := last_answer(value)) is None else said
    if isinstance(value, str):
        return [Reference(value)]
    found = None
    if isinstance(value, Mapping):
        found = [Reference(_text(text, where), _score(score, where)) for text, score in value.items()]
    if isinstance(value, list | tuple):
        found = [_entry(entry, where) for entry in value]
    if found is not None:
        return [reference for reference in found if reference.score > 0]
    raise DataError(f"the target is of type {type(value).__name__}, not text.", where=where, hint=f"It is {FORMS}.")


def drawn(references: list[Reference], how: str) -> Reference:
    """The one that a step learns, by Python's generator: `score`, `uniform` or `first`."""
    if how == "first" or len(references) == 1:
        return references[0]
    weights = [reference.score for reference in references] if how == "score" else None
    return random.choices(references, weights)[0]


def best(references: list[Reference]) -> Reference:
    """The one that a loss in evaluation is of: the first of the highest score, of equal ones the commonest text."""
    texts = [reference.text for reference in references]
    return max(references, key=lambda reference: (reference.score, texts.count(reference.text)))


def _entry(entry: Any, where: str) -> Reference:
    if isinstance(entry, Mapping) and "answer" in entry:
        return Reference(_text(entry["answer"], where), _score(entry.get("score", 1.0), where))
    return Reference(_text(entry, where))


def _text(text: Any, where: str) -> str:
    if not isinstance(text, str):
        message = f"an answer of the target is of type {type(text).__name__}, not text."
        raise DataError(message, where=where, hint=f"A target is {FORMS}.")
    return text


def _score(score: Any, where: str) -> float:
    fine = isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score) and score >= 0
    if not fine:
        raise DataError(f"the score {score!r} of an answer is no number from 0 up.", where=where)
    return float(score)
