"""Scores of answers: exact match and token F1 (SQuAD), GQA, NLVR2, and the choice of an option."""

from __future__ import annotations

import re
import string
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

# N answers

ARTICLES = re.compile(r"\b(a|an|the)\b")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
LETTERS = "ABCDE"
SAID = re.compile(r"The answer is ([A-Z]).")


def squad_normalised(answer: str) -> str:
    """Lower case, without ASCII punctuation and articles, single blanks (Rajpurkar et al. 2016)."""
    return " ".join(ARTICLES.sub(" ", answer.lower().translate(NO_PUNCTUATION)).split())


def exact_match(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """1 for each prediction that equals one of its answers, both normalised; no answers: 1 for an empty one."""
    told = [squad_normalised(each) for each in predictions]
    return [float(one in wanted) for one, wanted in zip(told, map(_wanted, references), strict=True)]


def token_f1(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """F1 of the words that each prediction shares with the answer it shares most with, as SQuAD 2.0 computes it.

    Two texts without any word are equal: 1. (SQuAD 1.1 gives such a pair 0.)
    """
    told = [squad_normalised(each) for each in predictions]
    return [max(_f1(one, each) for each in wanted) for one, wanted in zip(told, map(_wanted, references), strict=True)]


def same(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """1 for each prediction that is one of its answers, character for character: the accuracy of GQA."""
    return [float(one in answers) for one, answers in zip(predictions, references, strict=True)]


def gqa_consistency(scores: Sequence[float], ids: Sequence[str], entailed: Sequence[Sequence[str]]) -> float | None:
    """Share of what right answers entail that is answered right as well (Hudson & Manning 2019); None without any.

    Args:
        scores: (N,) 1 or 0 of each question.
        ids: (N,) of the questions.
        entailed: (N,) ids of questions whose answers follow; itself and those that are not here do not count.
    """
    known = dict(zip(ids, scores, strict=True))
    found = []
    for name, score, others in zip(ids, scores, entailed, strict=True):
        followed = [known[other] for other in others if other != name and other in known]
        if score and followed:
            found.append(sum(followed) / len(followed))
    return sum(found) / len(found) if found else None


def nlvr2_scores(predictions: Sequence[str], references: Sequence[str]) -> list[float]:
    """1 for each prediction of the right word, in any case."""
    return [float(one.lower() == wanted.lower()) for one, wanted in zip(predictions, references, strict=True)]


def nlvr2_consistency(scores: Sequence[float], identifiers: Sequence[str]) -> float:
    """Share of the sentences that are judged right with all their pairs of pictures (Suhr et al. 2019).

    Args:
        scores: (N,) 1 or 0.
        identifiers: (N,) `split-set-pair-sentence`; those that differ in the pair alone are of one sentence.
    """
    groups: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for score, identifier in zip(scores, identifiers, strict=True):
        parts = identifier.split("-")
        groups[*parts[:2], *parts[3:]].append(score)
    return sum(map(all, groups.values())) / len(groups)


def option_said(text: str, count: int) -> int | None:
    """The option that a text names by its letter, as the evaluation of ScienceQA reads it; None if it names none.

    A capital letter alone, or with a period and a blank at the start, or the only "The answer is X" of the text.
    """
    said = SAID.findall(text)
    if text in LETTERS and len(text) == 1:
        letter = text
    elif len(text) >= 3 and text[0] in LETTERS and text[1:3] == ". ":
        letter = text[0]
    else:
        letter = said[0] if len(said) == 1 else ""
    place = LETTERS[:count].find(letter) if letter else -1
    return None if place < 0 else place


Norm = Literal["sum", "token", "byte", "character"]


def option_chosen(
    log_probabilities: Sequence[float], options: Sequence[str], tokens: Sequence[int], per: Norm = "sum"
) -> int:
    """The likeliest option, by its log-probability or that per token, byte or character; of equals the first.

    Args:
        log_probabilities: of each option, summed over its tokens.
        options: their texts.
        tokens: how many tokens each has.
        per: what the sum is divided by.
    """
    sizes: Mapping[Norm, Sequence[int]] = {
        "sum": [1] * len(options),
        "token": tokens,
        "byte": [len(each.encode()) for each in options],
        "character": [len(each) for each in options],
    }
    scores = [value / max(size, 1) for value, size in zip(log_probabilities, sizes[per], strict=True)]
    return max(range(len(scores)), key=scores.__getitem__)


def _wanted(answers: Sequence[str]) -> list[str]:
    """The answers that are something; a question without any wants an empty one."""
    return [each for each in map(squad_normalised, answers) if each] or [""]


def _f1(told: str, wanted: str) -> float:
    mine, theirs = told.split(), wanted.split()
    if not mine or not theirs:
        return float(mine == theirs)
    shared = (Counter(mine) & Counter(theirs)).total()
    precision, recall = shared / len(mine), shared / len(theirs)
    return 2 * precision * recall / (precision + recall) if shared else 0.0
