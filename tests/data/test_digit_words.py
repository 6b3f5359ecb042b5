"""The digits in words: answers that are right, and digits that are in one split alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adaptkit.data.rows import Column, SplitRows
from adaptkit.errors import DataError
from adaptkit.formats.digit_questions import load_scans
from adaptkit.formats.digit_words import NUMBERS, DigitWords, read_digit_words
from adaptkit.recipe import cells

COLUMNS = (Column("question", cells.TEXT), Column("image", cells.FILE), Column("answer", cells.TARGET))


def table(**keys: object) -> SplitRows:
    return read_digit_words(DigitWords(format="digit_words", **keys), Path(), COLUMNS)  # type: ignore[arg-type]


def test_answers_are_right_and_splits_apart() -> None:
    made = table(questions_per_image=3)
    assert made.hash == table(questions_per_image=3).hash
    scans, digits = load_scans()
    known = {scan.tobytes(): int(digit) for scan, digit in zip(scans, digits, strict=True)}
    seen: dict[str, set[bytes]] = {}
    for split, rows in made.splits.items():
        seen[split] = set()
        for row in rows:
            image, question, answer = (row.values[key] for key in ("image", "question", "answer"))
            left, right = (np.ascontiguousarray(half) for half in (image[:, :8], image[:, 8:]))
            digit = known[left.tobytes()]
            seen[split].add(left.tobytes())
            if right.any():
                other = known[right.tobytes()]
                seen[split].add(right.tobytes())
                assert NUMBERS[digit] in answer.split(" and ")[0]
                assert NUMBERS[other] in answer.split(" and ")[1]
            else:
                added = [n for n, word in enumerate(NUMBERS) if word in question.rstrip("?").split()]
                assert answer == NUMBERS[digit + sum(added)]
    assert not seen["train"] & (seen["test"] | seen["validation"])
    assert {row.values["answer"] for row in made.splits["train"]} > {"zero", "eighteen"}


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(DataError, match="no column 'digit'"):
        read_digit_words(DigitWords(format="digit_words"), Path(), (Column("digit", cells.TEXT),))


def test_conversations_go_on_where_they_were() -> None:
    columns = (Column("messages", cells.VALUE), Column("image", cells.FILE))
    data = DigitWords(format="digit_words", questions_per_image=2)
    made = read_digit_words(data, Path(), columns)
    assert made.hash == read_digit_words(data, Path(), columns).hash
    scans, digits = load_scans()
    known = {scan.tobytes(): int(digit) for scan, digit in zip(scans, digits, strict=True)}
    for row in made.splits["test"]:
        left = np.ascontiguousarray(row.values["image"][:, :8])
        said = row.values["messages"]
        assert [message["role"] for message in said] == ["user", "assistant"] * 3
        asked, answers = ([message["content"] for message in said[start::2]] for start in (0, 1))
        more = [[n for n, word in enumerate(NUMBERS) if word in text.rstrip("?").split()] for text in asked]
        assert more[0] == []
        sums = [known[left.tobytes()]]
        for added in more[1:]:
            sums.append(sums[-1] + sum(added))
        assert answers == [NUMBERS[number] for number in sums]
    with pytest.raises(DataError, match="messages have questions and answers of their own"):
        read_digit_words(data, Path(), (*columns, Column("question", cells.TEXT)))
