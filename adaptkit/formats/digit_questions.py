"""`digit_questions`: scans of handwritten digits and yes/no questions that neither modality answers alone."""

from __future__ import annotations

import hashlib
import importlib.util
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adaptkit.data.rows import FORMATS, Column, Row, SplitRows
from adaptkit.errors import DataError, nearest
from adaptkit.formats.digit_kinds import KINDS
from adaptkit.formats.tables import DigitQuestions

COLUMNS = ("question", "image", "answer", "digit")
ANSWERS = ("no", "yes")
SCANS = ("datasets", "data", "digits.csv.gz")  # in scikit-learn's package
UNSEEN = 2  # phrasings of each kind that training never sees

# A answers (no, yes), D digits, K kinds


@FORMATS.register("digit_questions", table=DigitQuestions)
def read_digit_questions(data: DigitQuestions, base: Path, columns: tuple[Column, ...]) -> SplitRows:
    """Yes/no questions about handwritten digits (made from scikit-learn's 1,797 scans; no download).

    Columns: `question` (text), `image` ((8, 8) array of 0..1), `answer` ("yes" or "no"), `digit` (0..9).
    Splits: `train`, `validation`, `test`, and `test_unseen`: the test images with held-out phrasings.

    Raises:
        DataError: a column that does not exist, or shares of images that leave a split empty.
    """
    for column in columns:
        if column.name not in COLUMNS:
            message = f"digit_questions has no column {column.name!r}."
            raise DataError(message, where="data.format", hint=nearest(column.name, COLUMNS))
    scans, digits = load_scans()
    parts = split_images(digits, validation=data.images_validation, test=data.images_test, seed=data.seed)
    parts["test_unseen"] = parts["test"]
    seen, unseen = split_phrasings(seed=data.seed)
    splits = {}
    for number, (split, images) in enumerate(parts.items()):
        phrasings = unseen if split == "test_unseen" else seen
        rng = np.random.default_rng((data.seed, number))
        asked = ask(digits[images], data.questions_per_image, phrasings, rng)
        splits[split] = [
            Row(
                f"{split}/{row}",
                {
                    "question": question,
                    "image": scans[images[i]],
                    "answer": answer,
                    "digit": int(digits[images[i]]),
                },
            )
            for row, (i, question, answer) in enumerate(asked)
        ]
    counts = ", ".join(f"{split} {len(rows):,}" for split, rows in splits.items())
    return SplitRows(splits, _hash(splits), f"digit questions: {len(KINDS)} kinds on {len(digits):,} scans ({counts})")


def load_scans() -> tuple[np.ndarray, np.ndarray]:
    """The (1797, 8, 8) scans, values 0..1, and the (1797,) digits they show."""
    table = _table()  # (1797, 65): 64 pixels of 0..16, and the digit
    return (table[:, :-1] / 16.0).astype(np.float32).reshape(-1, 8, 8), table[:, -1].astype(np.int64)


def _table() -> np.ndarray:
    """scikit-learn's file, found without importing the package, which takes longer than all else that a plan needs."""
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec and spec.submodule_search_locations) or ():
        file = Path(folder, *SCANS)
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits  # wherever a later version keeps it

    pixels, digits = load_digits(return_X_y=True)
    return np.column_stack([np.asarray(pixels), np.asarray(digits)])


def split_images(digits: np.ndarray, *, validation: float, test: float, seed: int) -> dict[str, np.ndarray]:
    """Image indices of train, validation and test, disjoint, with the same share of every digit.

    Raises:
        DataError: a split would be left without images of some digit.
    """
    rng = np.random.default_rng((seed, 9001))
    parts: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for digit in range(10):
        images = rng.permutation(np.flatnonzero(digits == digit))
        n_test, n_validation = round(test * len(images)), round(validation * len(images))
        parts["test"].append(images[:n_test])
        parts["validation"].append(images[n_test : n_test + n_validation])
        parts["train"].append(images[n_test + n_validation :])
    for name, images in parts.items():
        if any(len(of_digit) == 0 for of_digit in images):
            raise DataError(
                f"images_validation = {validation} and images_test = {test} leave {name} without images.",
                where="data.images_test",
                hint="Give shares above 0 that sum to less than 1, such as 0.15 and 0.2.",
            )
    return {name: np.sort(np.concatenate(images)) for name, images in parts.items()}


def split_phrasings(*, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """For each kind the phrasings of train, validation and test, and those held out for test_unseen."""
    rng = np.random.default_rng((seed, 9002))
    orders = [rng.permutation(len(kind.phrasings)) for kind in KINDS]
    seen = [[kind.phrasings[i] for i in order[UNSEEN:]] for kind, order in zip(KINDS, orders, strict=True)]
    unseen = [[kind.phrasings[i] for i in order[:UNSEEN]] for kind, order in zip(KINDS, orders, strict=True)]
    return seen, unseen


def ask(
    digits: np.ndarray, per_image: int, phrasings: Sequence[Sequence[str]], rng: np.random.Generator
) -> list[tuple[int, str, str]]:
    """Questions for images of these digits, as (image, question, answer), `per_image` for each image.

    Half of what is asked is answered yes: for each digit, for each kind and for each phrasing, so that
    neither the image nor the question alone tells anything. Which kinds a digit gets follows `kind_shares`;
    within a kind, the yes questions and the no questions each go round all its phrasings.
    """
    shares = kind_shares()  # (A, D, K)
    kinds = np.empty((len(digits), per_image), dtype=np.int64)
    answers = rng.permuted(np.resize([0, 1], (len(digits), per_image)), axis=1)
    if per_image % 2:  # the odd question is answered yes for every other image
        answers[rng.permutation(len(digits))[::2]] ^= 1
    for answer in (0, 1):
        for digit in range(10):
            slots = np.argwhere((digits[:, None] == digit) & (answers == answer))  # (n, 2)
            points = (np.arange(len(slots)) + rng.random()) / max(len(slots), 1)
            drawn = np.searchsorted(np.cumsum(shares[answer, digit]), points * shares[answer, digit].sum())
            kinds[slots[:, 0], slots[:, 1]] = rng.permutation(drawn)
    turn: Counter[tuple[int, int]] = Counter()
    asked = []
    for image, slot in rng.permutation(np.argwhere(kinds >= 0)):
        kind, answer = int(kinds[image, slot]), int(answers[image, slot])
        question = phrasings[kind][turn[kind, answer] % len(phrasings[kind])]
        turn[kind, answer] += 1
        asked.append((int(image), question, ANSWERS[answer]))
    return asked


def kind_shares(rounds: int = 500) -> np.ndarray:
    """(A, D, K): how often a digit gets a kind, among its questions of one answer.

    Iterative proportional fitting to equal sums over kinds for each digit and over digits for each kind: with
    both margins equal for yes and for no, P(yes | digit) = P(yes | kind) = 1/2.
    """
    shares = np.array(
        [[[kind.answers(digit) == answer for kind in KINDS] for digit in range(10)] for answer in ANSWERS],
        float,
    )
    for _ in range(rounds):
        shares /= shares.sum(axis=2, keepdims=True) * 10
        shares /= shares.sum(axis=1, keepdims=True) * len(KINDS)
    return shares


def _hash(splits: dict[str, list[Row]]) -> str:
    digest = hashlib.sha256()
    for rows in splits.values():
        for row in rows:
            values = row.values
            digest.update(f"{row.id}\t{values['question']}\t{values['answer']}\n".encode())
            digest.update(values["image"].tobytes())
    return f"sha256:{digest.hexdigest()}"
