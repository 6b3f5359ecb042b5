"""What is odd with targets: a split lacks labels, has others than training, or in other shares; or all are the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import log, sqrt
from typing import Any

RARE, UNEVEN = 5, 50  # samples of a label; the commonest label over the rarest
SHIFT = 0.1  # total variation distance that is worth a word
CHANCE = 0.001  # of a warning where both splits were drawn alike
SHOWN = 5  # labels that are named


def label_warnings(name: str, columns: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Sentences about one column of labels: `label_changes`, and labels that are rare or not everywhere.

    Args:
        name: of the column.
        columns: split -> its summary, with `labels`, `present` and `per_sample`.
    """
    yield from label_changes(name, columns)
    training = {} if identities(columns) else columns["train"]["labels"]
    for split, column in columns.items():
        if lacking := sorted(training.keys() - column["labels"].keys()):
            yield f"{split}: {name} lacks labels of train: {some(lacking)}."
    if rare := sorted(label for label, count in training.items() if count < RARE):
        yield f"train: {name} has fewer than {RARE} samples of {some(rare)}."
    if training and max(training.values()) > UNEVEN * min(training.values()):
        common, seldom = max(training, key=training.__getitem__), min(training, key=training.__getitem__)
        yield f"train: {name} is uneven: {training[common]:,} samples of {common}, {training[seldom]:,} of {seldom}."


def label_changes(name: str, columns: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Sentences about labels that never change, that train lacks, or that a split has in other shares than train."""
    for split, column in columns.items():
        present, labels = column["present"], column["labels"]
        if present > 1 and labels and all(count == present for count in labels.values()):
            yield f"{split}: {name} is {some(sorted(labels))} in every sample."
    if not identities(columns):
        training = columns["train"]
        for split, column in columns.items():
            if unknown := sorted(column["labels"].keys() - training["labels"].keys()):
                yield f"{split}: {name} has labels that train lacks: {some(unknown)}."
            yield from _shift(name, split, column, training)


def identities(columns: Mapping[str, Mapping[str, Any]]) -> bool:
    """Labels that are in one split only, such as the video of a caption; or there is nothing to compare with."""
    if "train" not in columns:
        return True
    others = {label for split, column in columns.items() if split != "train" for label in column["labels"]}
    return bool(others) and not others & columns["train"]["labels"].keys()


def constant_number(name: str, split: str, column: Mapping[str, Any]) -> Iterator[str]:
    """A sentence where a summary of numbers has one value only."""
    values = column.get("values")
    if "not_numbers" in column and values and values["min"] == values["max"]:
        yield f"{split}: {name} is {values['min']:g} everywhere."


def some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


def _shift(name: str, split: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """A sentence where the distance of the shares is SHIFT at least, and more than chance explains.

    The labels of a sample that has exactly one are one distribution; where it may have several, or none, each label is
    a distribution of its own, of yes and no, and the farthest counts.
    """
    n, m = ours["present"], theirs["present"]
    if not n or not m:
        return
    shares = {
        label: (ours["labels"].get(label, 0) / n, theirs["labels"].get(label, 0) / m)
        for label in sorted(ours["labels"].keys() | theirs["labels"].keys())
    }
    if not shares:
        return
    alone = all(column["per_sample"]["min"] == column["per_sample"]["max"] == 1 for column in (ours, theirs))
    sets = [list(shares.values())] if alone else [[(p, q), (1 - p, 1 - q)] for p, q in shares.values()]
    distances = [sum(abs(p - q) for p, q in found) / 2 for found in sets]
    if any(
        distance >= SHIFT and distance > _by_chance(found, n, m, len(sets))
        for distance, found in zip(distances, sets, strict=True)
    ):
        label, (here, there) = max(shares.items(), key=lambda item: round(abs(item[1][0] - item[1][1]), 9))
        yield (
            f"{split}: {name} is shifted against train (total variation {max(distances):.2f}): "
            f"{label} in {here:.1%} of the samples, {there:.1%} in train."
        )


def _by_chance(shares: list[tuple[float, float]], n: int, m: int, comparisons: int) -> float:
    """What the total variation of two samples of sizes n and m of one distribution exceeds with probability CHANCE.

    The expectation is at most the half sum of the deviations of p - q (Jensen), and one sample more or less moves the
    distance by 1/n or 1/m, which bounds the rest (McDiarmid 1989); CHANCE is divided by the number of comparisons.
    """
    either = 1 / n + 1 / m
    pooled = [(p * n + q * m) / (n + m) for p, q in shares]
    expected = sum(sqrt(max(0.0, p * (1 - p)) * either) for p in pooled) / 2
    return expected + sqrt(log(comparisons / CHANCE) * either / 2)
