"""The digit questions: no leak between splits, and no answer from one modality alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from adaptkit.data.rows import Column, Row, SplitRows
from adaptkit.errors import DataError
from adaptkit.formats.digit_kinds import KINDS
from adaptkit.formats.digit_questions import (
    DigitQuestions,
    ask,
    kind_shares,
    load_scans,
    read_digit_questions,
    split_images,
    split_phrasings,
)
from adaptkit.recipe import cells

COLUMNS = (Column("question", cells.TEXT), Column("image", cells.FILE), Column("answer", cells.TARGET))


def table(**keys: object) -> SplitRows:
    data = DigitQuestions(format="digit_questions", **{"questions_per_image": 5, **keys})  # type: ignore[arg-type]
    return read_digit_questions(data, Path(), COLUMNS)


@pytest.fixture(scope="module")
def made() -> SplitRows:
    return table()


def images(rows: list[Row]) -> set[bytes]:
    return {row.values["image"].tobytes() for row in rows}


def questions(rows: list[Row]) -> set[str]:
    return {row.values["question"] for row in rows}


def majority_rate(rows: list[Row], column: str) -> float:
    """Accuracy of always giving the most frequent answer for this value of the column, on the same rows."""
    answers: dict[object, Counter[str]] = defaultdict(Counter)
    for row in rows:
        answers[row.values[column]][row.values["answer"]] += 1
    return sum(max(counts.values()) for counts in answers.values()) / len(rows)


def test_there_are_at_least_twelve_kinds_with_six_different_phrasings_each() -> None:
    assert len(KINDS) >= 12
    assert len({text for kind in KINDS for text in kind.phrasings}) == 6 * len(KINDS)
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert all(not kind.yes & kind.unsure for kind in KINDS)


def test_no_image_is_in_two_splits(made: SplitRows) -> None:
    train, validation, test = (images(made.splits[name]) for name in ("train", "validation", "test"))
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert len(train | validation | test) == 1797


def test_unseen_has_the_test_images_and_none_of_the_phrasings_of_the_other_splits(made: SplitRows) -> None:
    assert images(made.splits["test_unseen"]) == images(made.splits["test"])
    seen = set().union(*(questions(made.splits[name]) for name in ("train", "validation", "test")))
    assert not questions(made.splits["test_unseen"]) & seen


def test_every_kind_has_seen_and_unseen_phrasings() -> None:
    for kind, seen, unseen in zip(KINDS, *split_phrasings(seed=0), strict=True):
        assert sorted(seen + unseen) == sorted(kind.phrasings)
        assert seen
        assert unseen


@pytest.mark.parametrize("split", ["train", "validation", "test", "test_unseen"])
@pytest.mark.parametrize("column", ["question", "digit"])
def test_one_modality_alone_is_at_chance(made: SplitRows, split: str, column: str) -> None:
    assert majority_rate(made.splits[split], column) <= 0.55


@pytest.mark.parametrize("seed", [1, 2])
def test_chance_level_does_not_depend_on_the_seed(seed: int) -> None:
    rows = table(seed=seed, questions_per_image=3).splits["test"]
    assert majority_rate(rows, "question") <= 0.6
    assert majority_rate(rows, "digit") <= 0.6


def test_every_answer_is_true_of_the_digit(made: SplitRows) -> None:
    kind_of = {text: kind for kind in KINDS for text in kind.phrasings}
    for rows in made.splits.values():
        assert all(kind_of[r.values["question"]].answers(r.values["digit"]) == r.values["answer"] for r in rows)


def test_the_image_shows_the_digit(made: SplitRows) -> None:
    scans, digits = load_scans()
    shown = {scan.tobytes(): digit for scan, digit in zip(scans, digits, strict=True)}
    for row in made.splits["test"]:
        image = row.values["image"]
        assert image.shape == (8, 8)
        assert image.min() >= 0
        assert image.max() <= 1
        assert shown[image.tobytes()] == row.values["digit"]


def test_the_shares_give_every_kind_and_every_digit_its_part_of_yes_and_of_no() -> None:
    shares = kind_shares()
    assert np.allclose(shares.sum(axis=2), 1 / 10, atol=1e-9)  # each digit
    assert np.allclose(shares.sum(axis=1), 1 / len(KINDS), atol=1e-9)  # each kind
    for digit in range(10):
        for place, kind in enumerate(KINDS):
            asked = kind.answers(digit)
            assert (shares[0, digit, place] > 0) == (asked == "no")
            assert (shares[1, digit, place] > 0) == (asked == "yes")


def test_the_answers_of_one_kind_spread_over_all_phrasings() -> None:
    phrasings = [[f"{kind.name} {n}" for n in range(4)] for kind in KINDS]
    asked = ask(np.arange(500) % 10, 6, phrasings, np.random.default_rng(0))
    counts = Counter((question, answer) for _, question, answer in asked)
    for kind in KINDS:
        for answer in ("no", "yes"):
            of_kind = [counts[f"{kind.name} {n}", answer] for n in range(4)]
            assert max(of_kind) - min(of_kind) <= 1


def test_the_same_seed_gives_the_same_data_and_another_seed_other_data(made: SplitRows) -> None:
    again, other = table(), table(seed=1)
    assert again.hash == made.hash
    assert [r.id for r in again.splits["train"]] == [r.id for r in made.splits["train"]]
    assert other.hash != made.hash


def test_sizes_follow_the_recipe() -> None:
    made = table(images_validation=0.1, images_test=0.3, questions_per_image=2)
    assert len(made.splits["test"]) == pytest.approx(0.3 * 1797 * 2, rel=0.02)
    assert len(made.splits["validation"]) == pytest.approx(0.1 * 1797 * 2, rel=0.02)
    assert len({row.id for rows in made.splits.values() for row in rows}) == sum(map(len, made.splits.values()))


def test_shares_that_leave_a_split_empty_are_refused() -> None:
    _, digits = load_scans()
    with pytest.raises(DataError, match="leave validation without images"):
        split_images(digits, validation=0.0001, test=0.2, seed=0)
    with pytest.raises(DataError, match="leave train without images"):
        split_images(digits, validation=0.5, test=0.5, seed=0)


def test_an_unknown_column_is_refused_with_the_nearest_one() -> None:
    data = DigitQuestions(format="digit_questions")
    with pytest.raises(DataError, match=r"no column 'questoin'\. Did you mean .question"):
        read_digit_questions(data, Path(), (Column("questoin", cells.TEXT),))


def test_a_linear_model_reads_the_digit_from_the_pixels(made: SplitRows) -> None:
    from sklearn.linear_model import LogisticRegression

    train, test = made.splits["train"][::5], made.splits["test"][::5]
    pixels, digits = zip(*((r.values["image"].ravel(), r.values["digit"]) for r in train), strict=True)
    model = LogisticRegression(max_iter=300).fit(np.stack(pixels), digits)
    score = model.score(np.stack([r.values["image"].ravel() for r in test]), [r.values["digit"] for r in test])
    assert score > 0.9


def test_the_scans_are_those_of_scikit_learn_wherever_it_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    found = [load_scans()]
    monkeypatch.setattr("adaptkit.formats.digit_questions.SCANS", ("moved.csv.gz",))
    found.append(load_scans())
    for scans, shown in found:
        assert scans.dtype == np.float32
        assert np.array_equal(scans.reshape(-1, 64) * 16, pixels)
        assert shown.dtype == np.int64
        assert np.array_equal(shown, digits)
