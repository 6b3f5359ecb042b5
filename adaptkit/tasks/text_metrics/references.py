"""What a raw target of a task that generates says: its answers, and what else metrics ask of it.

A target is a text, a list of texts (or of tables with an `answer` each), a table answer -> score, or a table with
`answers`, one of these, and further fields such as `answer_type`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ANSWERS = "answers"  # the field beside which there are others


def answers_of(target: Any) -> list[str]:
    """Every answer, as often as it is given."""
    return list(_texts(_said(target)))


def scores_of(target: Any) -> Mapping[str, float] | None:
    """answer -> score; None of a target without scores."""
    said = _said(target)
    return said if isinstance(said, Mapping) else None


def field_of(target: Any, name: str) -> Any:
    """A field beside the answers; None where there is none."""
    return target.get(name) if has_fields(target) else None


def has_fields(target: Any) -> bool:
    """Whether a target is a table with `answers`: not one of scores, in which that would be an answer."""
    return isinstance(target, Mapping) and ANSWERS in target and not isinstance(target[ANSWERS], int | float)


def _said(target: Any) -> Any:
    return target[ANSWERS] if has_fields(target) else target


def _texts(said: Any) -> Iterator[str]:
    entries: Sequence[Any] = [said] if isinstance(said, str) else list(said)
    for entry in entries:
        yield entry["answer"] if isinstance(entry, Mapping) else entry
