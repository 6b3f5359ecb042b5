"""Label lists: where they come from, and the place of a label in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from adaptkit.errors import DataError, RecipeError
from adaptkit.registry import nearest


def label_of(value: Any, where: str) -> str:
    """A raw label as text: a string as it is, true as `true`, 3 as `3`.

    Raises:
        DataError: anything else.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise DataError(f"the label {value!r} is of type {type(value).__name__}.", where=where, hint="Write a string.")


def labels_of(given: Sequence[str] | None, found: Iterable[Any] | None, *, task: str, least: int) -> tuple[str, ...]:
    """The recipe's labels, or those of the training split: sorted, whole numbers by value.

    Raises:
        RecipeError: a label is listed twice, or neither labels nor data are there.
        DataError: the training split has fewer than `least` labels.
    """
    where = f"task.{task}.labels"
    if given is not None:
        twice = sorted({label for label in given if list(given).count(label) > 1})
        if twice:
            raise RecipeError(f"{twice[0]!r} is listed twice.", where=where)
        return tuple(given)
    if found is None:
        raise RecipeError("labels are needed where there is no training data.", where=where)
    values = set(found)
    numbers = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    ordered = sorted(values) if numbers else sorted({label_of(value, where) for value in values})
    if len(ordered) < least:
        raise DataError(f"the training split has {len(ordered)} labels, fewer than {least}.", where=where)
    return tuple(map(str, ordered))


def position(value: Any, places: dict[str, int], where: str) -> int:
    """Index of a raw label.

    Raises:
        DataError: it is not in the list.
    """
    label = label_of(value, where)
    if label not in places:
        raise DataError(
            f"the label {label!r} is not one of the task's labels.", where=where, hint=nearest(label, places)
        )
    return places[label]


def given_weights(weights: list[float], labels: tuple[str, ...], where: str) -> list[float]:
    """The recipe's own weights.

    Raises:
        RecipeError: not one per label.
    """
    if len(weights) != len(labels):
        raise RecipeError(f"{len(weights)} weights for {len(labels)} labels.", where=where)
    return weights


def every_label_occurs(counts: Sequence[int], labels: tuple[str, ...], where: str) -> None:
    """Weights by frequency need every label in the training split.

    Raises:
        DataError: a label does not occur.
    """
    for label, count in zip(labels, counts, strict=True):
        if count == 0:
            raise DataError(
                f"no training sample has the label {label!r}, so its weight by frequency is infinite.",
                where=where,
                hint="List the weights, or leave the label out.",
            )
