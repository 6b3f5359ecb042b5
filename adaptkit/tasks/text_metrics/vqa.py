"""The soft accuracy of VQA v2, with the normalisation of the official evaluation.

An answer is right by how many of the annotators gave it: min(1, matches / 3), averaged over leaving out each of them
(Antol et al. 2015; https://visualqa.org/evaluation.html). Two versions are in use; they differ in what they normalise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Version = Literal["official", "pre2021"]

MARKS = ';/[]"{}()=+\\_-><@`,?!'
DECIMAL_COMMA = re.compile(r"[0-9],[0-9]")
PERIOD = re.compile(r"\.(?![0-9])")
ARTICLES = {"a", "an", "the"}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {"none": "0", **{word: str(n) for n, word in enumerate(DIGITS)}}

# The contractions of the official table. What it corrects is each with one apostrophe left out: "dont", "couldn'tve".
CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've
needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've
somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll
that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've
weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll
why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def without_one_apostrophe(word: str) -> list[str]:
    return [word[:at] + word[at + 1 :] for at, letter in enumerate(word) if letter == "'"]


CONTRACTIONS = {short: word for word in CONTRACTED.split() for short in without_one_apostrophe(word)}
CONTRACTIONS["somebody'd"] = "somebodyd"  # the other way round, as in the official table


def vqa_scores(
    predictions: Sequence[str], references: Sequence[Sequence[str]], version: Version = "official"
) -> list[float]:
    """The accuracy of every prediction: with ten annotators 0, 0.3, 0.6, 0.9 and 1 for 0, 1, 2, 3 and more matches.

    Args:
        predictions: (N,) answers.
        references: (N,) the annotators' answers to each question, usually ten.
        version: "official", the evaluation since 2021: where all annotators say the same, nothing is normalised, else
            everything is. "pre2021", which most ports copy: the prediction is always normalised, the annotators'
            answers only where they differ, and only their punctuation.
    """
    return [_score(one, answers, version) for one, answers in zip(predictions, references, strict=True)]


def compared(prediction: str, answers: Sequence[str], version: Version) -> tuple[str, list[str]]:
    """The texts that are compared: the prediction and the annotators' answers, each normalised as the version says."""
    prediction, answers = _clean(prediction), [_clean(answer) for answer in answers]
    differ = len(set(answers)) > 1
    if version == "pre2021":
        return normalised(prediction), [without_punctuation(each) for each in answers] if differ else answers
    return (normalised(prediction), [normalised(each) for each in answers]) if differ else (prediction, answers)


def normalised(answer: str) -> str:
    """Punctuation out, lower case, number words as digits, no articles, apostrophes where contractions have them."""
    words = (NUMBERS.get(word, word) for word in without_punctuation(answer).lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def without_punctuation(answer: str) -> str:
    """Marks out, or blanks in their place; periods out that no digit follows.

    A mark is deleted if it stands beside a blank anywhere in the answer, or if a digit, a comma and a digit do. Of the
    official code all periods go, not only the first 32: there a flag is passed in the place of a count.
    """
    text, decimal = answer, DECIMAL_COMMA.search(answer) is not None
    for mark in MARKS:
        beside_blank = f"{mark} " in answer or f" {mark}" in answer
        text = text.replace(mark, "" if beside_blank or decimal else " ")
    return PERIOD.sub("", text)


def _clean(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _score(prediction: str, answers: Sequence[str], version: Version) -> float:
    told, answers = compared(prediction, answers, version)
    matches, count = answers.count(told), len(answers)
    # leaving out one of those who agree, or one of the others
    return (matches * min(1.0, (matches - 1) / 3) + (count - matches) * min(1.0, matches / 3)) / count
