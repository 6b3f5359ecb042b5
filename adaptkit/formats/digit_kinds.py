"""The kinds of questions of `digit_questions`: which digits answer yes, and how one may ask."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QuestionKind:
    """One property of a digit.

    Attributes:
        name: short name, part of the samples' ids.
        yes: the digits that have the property.
        phrasings: six ways to ask for it; some are held out of training.
        unsure: digits never asked about, because the drawing leaves it open (a 4 may be closed at the top).
    """

    name: str
    yes: frozenset[int]
    phrasings: tuple[str, str, str, str, str, str]
    unsure: frozenset[int] = frozenset()

    def answers(self, digit: int) -> str | None:
        """`yes`, `no`, or None where the question is not asked."""
        if digit in self.unsure:
            return None
        return "yes" if digit in self.yes else "no"


def _kind(name: str, yes: set[int], *phrasings: str, unsure: frozenset[int] = frozenset()) -> QuestionKind:
    a, b, c, d, e, f = phrasings
    return QuestionKind(name, frozenset(yes), (a, b, c, d, e, f), unsure)


KINDS: tuple[QuestionKind, ...] = (
    _kind(
        "prime",
        {2, 3, 5, 7},
        "Is it a prime number?",
        "Is the digit shown prime?",
        "Does the picture show a prime?",
        "Is this one of the prime numbers?",
        "Would you call this digit a prime number?",
        "Is the number in the image a prime?",
    ),
    _kind(
        "even",
        {0, 2, 4, 6, 8},
        "Is it an even number?",
        "Is the digit even?",
        "Does the picture show an even digit?",
        "Is this one of the even numbers?",
        "Would you call the number shown even?",
        "Is the number in the image even?",
    ),
    _kind(
        "odd",
        {1, 3, 5, 7, 9},
        "Is it an odd number?",
        "Is the digit odd?",
        "Does the picture show an odd digit?",
        "Is this one of the odd numbers?",
        "Would you call the number shown odd?",
        "Is the number in the image odd?",
    ),
    _kind(
        "loop",
        {0, 6, 8, 9},
        "Does the drawing contain a closed loop?",
        "Is there a closed loop in the digit?",
        "Does the digit have a loop?",
        "Do the strokes form a closed loop?",
        "Can you see a closed loop in the picture?",
        "Does the shape have a hole, a closed loop?",
        unsure=frozenset({2, 4}),
    ),
    _kind(
        "above_five",
        {6, 7, 8, 9},
        "Is it greater than five?",
        "Is the digit larger than five?",
        "Is the number more than five?",
        "Does the picture show a digit above five?",
        "Is the value shown bigger than five?",
        "Is this number greater than 5?",
    ),
    _kind(
        "below_three",
        {0, 1, 2},
        "Is it less than three?",
        "Is the digit smaller than three?",
        "Is the number below three?",
        "Does the picture show a digit under three?",
        "Is the value shown less than three?",
        "Is this number smaller than 3?",
    ),
    _kind(
        "three_to_seven",
        {3, 4, 5, 6, 7},
        "Is it in the range from three to seven?",
        "Is the digit between three and seven, both included?",
        "Does the number lie from three to seven?",
        "Does the picture show a digit in the range three to seven?",
        "Is the value at least three and at most seven?",
        "Is this number in the range from 3 to 7?",
    ),
    _kind(
        "by_three",
        {0, 3, 6, 9},
        "Is it divisible by three?",
        "Is the digit a multiple of three?",
        "Can the number be divided by three without remainder?",
        "Does the picture show a multiple of three?",
        "Is the value shown divisible by three?",
        "Does three divide this number?",
    ),
    _kind(
        "square",
        {0, 1, 4, 9},
        "Is it a perfect square?",
        "Is the digit a square number?",
        "Is this the square of a whole number?",
        "Does the picture show a perfect square?",
        "Is the number shown one of the squares?",
        "Is the square root of this number whole?",
    ),
    _kind(
        "power_of_two",
        {1, 2, 4, 8},
        "Is it a power of two?",
        "Is the digit a power of two?",
        "Is the number one of the powers of two?",
        "Does the picture show a power of two?",
        "Would you call the value shown a power of two?",
        "Is two to some power this number?",
    ),
    _kind(
        "fibonacci",
        {0, 1, 2, 3, 5, 8},
        "Is it a Fibonacci number?",
        "Is the digit in the Fibonacci sequence?",
        "Does the number belong to the Fibonacci series?",
        "Does the picture show a Fibonacci number?",
        "Would Fibonacci list the value shown?",
        "Is this one of the Fibonacci numbers?",
    ),
    _kind(
        "factor_of_twelve",
        {1, 2, 3, 4, 6},
        "Is it a factor of twelve?",
        "Is the digit a divisor of twelve?",
        "Does the number divide twelve?",
        "Does the picture show a factor of twelve?",
        "Is twelve a multiple of the value shown?",
        "Is this one of the factors of twelve?",
    ),
    _kind(
        "four_letters",
        {0, 4, 5, 9},
        "Does its English name have four letters?",
        "Is the digit's name four letters long?",
        "Is the number written with four letters?",
        "Does the picture show a digit spelled with four letters?",
        "Does the word for the value shown have four letters?",
        "Do you need four letters to spell this number?",
    ),
    _kind(
        "mirror",
        {0, 8},
        "Does it look the same in a mirror?",
        "Is the digit symmetric left to right?",
        "Is the drawing its own mirror image?",
        "Does the picture show a digit with mirror symmetry?",
        "Would a mirror leave the shape unchanged?",
        "Is the shape symmetric, like its mirror image?",
        unsure=frozenset({1}),
    ),
    _kind(
        "straight",
        {1, 4, 7},
        "Can it be drawn with straight strokes only?",
        "Is the digit made of straight lines?",
        "Is the number free of curves, just straight strokes?",
        "Does the picture show a digit of straight lines?",
        "Would straight strokes be enough to write the value shown?",
        "Is this number written without curves, in straight lines?",
    ),
    _kind(
        "letter_e",
        {0, 1, 3, 5, 7, 8, 9},
        "Does its English name contain the letter e?",
        "Is there a letter e in the digit's name?",
        "Is the number written with the letter e?",
        "Does the picture show a digit spelled with the letter e?",
        "Does the word for the value shown have the letter e?",
        "Do you need the letter e to spell this number?",
    ),
)
