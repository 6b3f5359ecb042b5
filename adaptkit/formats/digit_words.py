"""`digit_words`: pictures of one or two handwritten digits, and what one may ask about them, answered in words."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from adaptkit.data.rows import FORMATS, Column, Row, SplitRows
from adaptkit.errors import DataError, nearest
from adaptkit.formats.digit_questions import load_scans, split_images
from adaptkit.formats.tables import DigitWords
from adaptkit.recipe.cells import CONVERSATION

COLUMNS = ("question", "image", "answer", CONVERSATION)
NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
)
ROLES = ("user", "assistant")
NAMING = ("What digit is this?", "Which digit do you see?", "Name the digit.")
ADDING = ("How much is it plus {}?", "What do you get when you add {}?")
GOING_ON = ("And {} more?", "Plus {}?")
DESCRIBING = ("Describe the picture.", "What does the picture show?")


@FORMATS.register("digit_words", table=DigitWords)
def read_digit_words(data: DigitWords, base: Path, columns: tuple[Column, ...]) -> SplitRows:
    """Questions about handwritten digits with answers in words (made from scikit-learn's 1,797 scans; no download).

    Columns: `question` (text), `image` ((8, 16) array of 0..1: one digit on the left, or two), `answer` (text):
    "seven", "seven" plus three is "ten", and of two digits "a seven and a two". The digits of a split are in no other.
    `messages` are three questions about one digit with their answers; the last begins where the second has ended.
    """
    for column in columns:
        if column.name not in COLUMNS:
            message = f"digit_words has no column {column.name!r}."
            raise DataError(message, where="data.format", hint=nearest(column.name, COLUMNS))
    talks = CONVERSATION in {column.name for column in columns}
    if talks and len({column.name for column in columns} - {"image"}) > 1:
        message = "messages have questions and answers of their own."
        raise DataError(message, where="data.format", hint="Read messages, or question and answer.")
    scans, digits = load_scans()
    parts = split_images(digits, validation=data.images_validation, test=data.images_test, seed=data.seed)
    splits, digest = {}, hashlib.sha256()
    for number, (split, images) in enumerate(parts.items()):
        rng = np.random.default_rng((data.seed, 100 + number))
        order = rng.permutation(len(images) * data.questions_per_image)
        asked = [divmod(int(at), data.questions_per_image) for at in order]
        talking = np.random.default_rng((data.seed, 200 + number))
        splits[split] = [
            Row(f"{split}/{row}", talked(scans, digits, int(images[place]), talking) if talks else found)
            for row, (place, turn) in enumerate(asked)
            for found in (made(scans, digits, images, int(images[place]), turn, rng),)
        ]
        for row in splits[split]:
            said = row.values.get(CONVERSATION) or f"{row.values['question']}\t{row.values['answer']}"
            digest.update(f"{row.id}\t{said}\n".encode())
            digest.update(row.values["image"].tobytes())
    counts = ", ".join(f"{split} {len(rows):,}" for split, rows in splits.items())
    return SplitRows(splits, f"sha256:{digest.hexdigest()}", f"digits in words: {len(digits):,} scans ({counts})")


def made(
    scans: np.ndarray, digits: np.ndarray, images: np.ndarray, image: int, turn: int, rng: np.random.Generator
) -> dict[str, object]:
    """One question about a scan: its name, a sum, or a caption of it and another one of the split, by turns."""
    left, right, digit = scans[image], np.zeros_like(scans[image]), int(digits[image])
    if turn % 3 == 0:
        question, answer = str(rng.choice(NAMING)), NUMBERS[digit]
    elif turn % 3 == 1:
        more = int(rng.integers(1, 10))
        question, answer = str(rng.choice(ADDING)).format(NUMBERS[more]), NUMBERS[digit + more]
    else:
        other = int(rng.choice(images))
        question, right = str(rng.choice(DESCRIBING)), scans[other]
        answer = f"{named(digit)} and {named(int(digits[other]))}"
    return {"question": question, "image": np.hstack([left, right]), "answer": answer}


def talked(scans: np.ndarray, digits: np.ndarray, image: int, rng: np.random.Generator) -> dict[str, object]:
    """Three questions about a scan: its name, a sum, and that sum and a little more."""
    digit, more = int(digits[image]), int(rng.integers(1, 8))
    further = int(rng.integers(1, 3))
    turns = (
        (str(rng.choice(NAMING)), NUMBERS[digit]),
        (str(rng.choice(ADDING)).format(NUMBERS[more]), NUMBERS[digit + more]),
        (str(rng.choice(GOING_ON)).format(NUMBERS[further]), NUMBERS[digit + more + further]),
    )
    messages = [{"role": role, "content": text} for turn in turns for role, text in zip(ROLES, turn, strict=True)]
    return {CONVERSATION: messages, "image": np.hstack([scans[image], np.zeros_like(scans[image])])}


def named(digit: int) -> str:
    return f"{'an' if digit == 8 else 'a'} {NUMBERS[digit]}"
