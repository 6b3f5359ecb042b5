"""BLEU, ROUGE-L and CIDEr-D of tokenised captions, as the COCO caption evaluation computes them.

All take tokens: the same captions give other scores under another tokenizer, so a metric names its own (see `tokens`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise

# N captions, each with its own number of references

Tokens = Sequence[str]
Grams = Counter[tuple[str, ...]]

TINY, SMALL = 1e-15, 1e-9  # what keeps BLEU of no match above 0, as published
BETA = 1.2  # of ROUGE-L: recall weighs more
SIGMA = 6.0  # of CIDEr-D: how much a difference in length matters
ORDERS = 4


def bleu(predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> tuple[float, ...]:
    """BLEU-1 to BLEU-4 of the corpus, 0..1 (Papineni et al. 2002), against the closest length of a reference each.

    Orders without any match count as almost nothing instead of 0, so a single caption has a BLEU-4 as well.
    """
    matched, guessed = [0] * ORDERS, [0] * ORDERS
    length = closest = 0
    for tokens, refs in zip(predictions, references, strict=True):
        length += len(tokens)
        closest += min((abs(len(ref) - len(tokens)), len(ref)) for ref in refs)[1]  # of equals the shorter
        for order in range(ORDERS):
            mine, most = grams(tokens, order + 1), Counter()
            for ref in refs:
                most |= grams(ref, order + 1)
            guessed[order] += mine.total()
            matched[order] += (mine & most).total()
    ratio = (length + TINY) / (closest + SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    found, product = [], 1.0
    for order in range(ORDERS):
        product *= (matched[order] + TINY) / (guessed[order] + SMALL)
        found.append(brevity * product ** (1 / (order + 1)))
    return tuple(found)


def rouge_l(predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> list[float]:
    """ROUGE-L of every caption, 0..1 (Lin 2004): the longest common subsequence, best precision and best recall.

    The two may come from different references, as published. No token at all counts as one empty token.
    """
    return [_rouge_l(tokens, refs) for tokens, refs in zip(predictions, references, strict=True)]


def cider_d(predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> list[float]:
    """CIDEr-D of every caption, 0..10 (Vedantam et al. 2015, section 5); what COCO calls CIDEr.

    Words are weighted by how few samples of these references have them, so a caption's score depends on the others, and
    of a single sample it is 0.
    """
    refs = [[vector(ref) for ref in group] for group in references]
    frequency: Grams = Counter()
    for group in refs:
        frequency.update(set(chain.from_iterable(counts for each in group for counts in each)))
    weigh = _Weigh(frequency, len(refs))
    return [weigh.score(vector(tokens), group) for tokens, group in zip(predictions, refs, strict=True)]


def grams(tokens: Tokens, order: int) -> Grams:
    """n-gram -> how often."""
    return Counter(zip(*(tokens[at:] for at in range(order)), strict=False))


def vector(tokens: Tokens) -> list[Grams]:
    """Its n-grams of every order."""
    return [grams(tokens, order + 1) for order in range(ORDERS)]


def _rouge_l(tokens: Tokens, refs: Sequence[Tokens]) -> float:
    tokens, refs = tokens or ("",), [ref or ("",) for ref in refs]
    common = [longest_common(tokens, ref) for ref in refs]
    precision = max(common) / len(tokens)
    recall = max(each / len(ref) for each, ref in zip(common, refs, strict=True))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def longest_common(first: Tokens, second: Tokens) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        new = [0]
        for (before, above), other in zip(pairwise(row), second, strict=True):
            new.append(before + 1 if word == other else max(above, new[-1]))
        row = new
    return row[-1]


class _Weigh:
    """Similarity of n-grams weighted by tf-idf, over a corpus of `count` samples."""

    def __init__(self, frequency: Grams, count: int) -> None:
        self.frequency, self.log_count = frequency, math.log(max(count, 1))

    def score(self, mine: list[Grams], refs: Sequence[list[Grams]]) -> float:
        weighted = [self._weighted(counts) for counts in mine]
        total = 0.0
        for ref in refs:
            # the length is the number of bigrams, as published: one token and none are as long
            distance = mine[1].total() - ref[1].total()
            likeness = sum(self._cosine(a, b) for a, b in zip(weighted, map(self._weighted, ref), strict=True))
            total += likeness / ORDERS * math.exp(-(distance**2) / (2 * SIGMA**2))
        return 10 * total / len(refs)

    def _weighted(self, counts: Grams) -> dict[tuple[str, ...], float]:
        return {gram: n * (self.log_count - math.log(max(1, self.frequency[gram]))) for gram, n in counts.items()}

    def _cosine(self, mine: dict[tuple[str, ...], float], ref: dict[tuple[str, ...], float]) -> float:
        norms = _norm(mine.values()) * _norm(ref.values())
        shared = sum(min(weight, ref[gram]) * ref[gram] for gram, weight in mine.items() if gram in ref)
        return shared / norms if norms else 0.0


def _norm(weights: Iterable[float]) -> float:
    return math.sqrt(sum(weight**2 for weight in weights))
