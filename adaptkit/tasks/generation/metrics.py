"""Metrics of generated texts that every task of this kind has; sets of further ones come by name."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from adaptkit.tasks.generation.references import Reference
from adaptkit.tasks.metric import Metric

METRICS = (
    Metric("perplexity", "exp of the mean negative log-likelihood of the targets' tokens", False),
    Metric("exact_match", "share of texts that are equal to a reference, but for case and white space around"),
    Metric("token_f1", "F1 of the words of text and reference (as in SQuAD, articles kept), the best reference's"),
)
WORD = re.compile(r"\w+")


def perplexity(nll: float, tokens: int) -> float | None:
    """Of a sum over so many tokens; None where there are none, or where it is beyond any number."""
    mean = nll / tokens if tokens else math.inf
    return math.exp(mean) if mean < 700 else None


def exact_match(text: str, references: Sequence[Reference]) -> float:
    """1.0 where one of the references is meant to the letter."""
    return float(any(text.strip().lower() == reference.text.strip().lower() for reference in references))


def token_f1(text: str, references: Sequence[Reference]) -> float:
    """The best F1 of the bags of words; 1.0 where neither has any."""
    return max((_f1(words(text), words(reference.text)) for reference in references), default=0.0)


def words(text: str) -> list[str]:
    """Lower case, without punctuation."""
    return WORD.findall(text.lower())


def _f1(ours: list[str], theirs: list[str]) -> float:
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs))
