"""Captions as tokens, in Python: the tokenizer `simple`, near to that of the COCO evaluation, which is in `java`."""

from __future__ import annotations

import re

# What the COCO evaluation drops of the tokens. Lower-casing makes -lrb- of a bracket, so brackets stay there.
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
QUOTES = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "…": "...", "–": "-", "—": "--", "\u00ad": None})
PICTURES = re.compile("[\U0001f000-\U0001faff\u200b-\u200f\ufe0f]")  # emoji and what has no width
# "can not" and its like are two words
TWO_WORDS = re.compile(r"\b(can|gon|wan|got|lem|gim)(not|na|ta|me)\b")
TOKEN = re.compile(
    r"""
    (?:[^\W\d_]\.){2,}                              # u.s., e.g.
  | \b(?:mr|mrs|ms|dr|st|no|vs|etc|jr|sr|prof)\.    # titles and the like
  | [-+]?\d[\d.,/:-]*\d(?:st|nd|rd|th|s)?\b | [-+]?\d+\w*
  | [^\W\d_]+?(?=n't\b) | n't\b                     # do n't
  | '(?:s|m|d|ll|re|ve)\b                           # it 's
  | [^\W_]+(?:[-/&][^\W_]+)*(?:'(?!(?:s|m|d|ll|re|ve|t)\b)[^\W_]+)*    # a word, with its hyphens and apostrophes inside
  | \.\.\. | -- | [!?]+ | \S
    """,
    re.VERBOSE,
)
BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}


def simple(text: str) -> list[str]:
    """Lower-case words, numbers and signs, contractions split ("do n't", "it 's"), punctuation dropped."""
    text = TWO_WORDS.sub(r"\1 \2", PICTURES.sub(" ", text.translate(QUOTES)).lower())
    found: list[str] = TOKEN.findall(text)
    return [BRACKETS.get(token, token) for token in found if token not in PUNCTUATION and token != '"']
