"""Labels: their keys in a recipe, the list of them, the place of one in it, weights per label, F1 over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from reprlib import repr
from typing import Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from adaptkit.errors import DataError, RecipeError, nearest
from adaptkit.kinds import LOSSES
from adaptkit.kinds.words import in_toml
from adaptkit.recipe.kinded import OfKind
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Written
from adaptkit.recipe.task import LossSpec
from adaptkit.tasks.metric import Metric

ZERO: dict[str, Any] = {"zero_division": 0}  # for scikit-learn: 0/0 in a ratio counts as 0
F1 = (
    Metric("f1_micro", "F1 over all decisions at once"),
    Metric("f1_macro", "F1 per label, mean over labels (0/0 counts as 0)"),
    Metric("f1_weighted", "F1 per label, weighted by how often it is true"),
)


def label_weights(*words: str) -> BeforeValidator:
    """One of the words, or a list of numbers, one per label."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and value in words:
            return value
        plain = isinstance(value, list) and len(value) > 0
        if plain and all(isinstance(n, int | float) and not isinstance(n, bool) for n in value):
            return value
        known = " or ".join(f'"{word}"' for word in words)
        raise PydanticCustomError("weights", "should be {known} or a list of numbers (one per label)", {"known": known})

    return BeforeValidator(check)


def labels_fit(path: Path, table: Written, weights: str) -> Iterator[Finding]:
    """Each label once, one weight per label where both are written, and a loss that takes them.

    Args:
        path: of the table of the task.
        table: the table.
        weights: its key of the weights.
    """
    labels, given = table.words("labels"), table[weights]
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        yield Finding((*path, "labels"), f"{in_toml(label)} is listed twice.")
    if isinstance(given, list) and labels and len(given) != len(labels):
        yield Finding((*path, weights), f"{len(given)} weights for {len(labels)} labels.")
    loss = OfKind(LOSSES, short=True).kind(LossSpec, table["loss"])
    if loss is not None and given != "none" and not loss.facts.get("weighted"):
        what = f"the loss {in_toml(loss.name)} takes no weights per label."
        yield Finding((*path, weights), what, f"Leave {weights} out, or loss.")


def label_of(value: Any, where: str) -> str:
    """A raw label as text: a string as it is, true as `true`, 3 as `3`.

    Raises:
        DataError: anything else.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise DataError(f"the label {repr(value)} is of type {type(value).__name__}.", where=where, hint="Write a string.")


def true_labels(values: Iterable[Any]) -> Iterator[str | int]:
    """Those of the raw values that are labels; the others are told, with their samples, when they are encoded."""
    return (value for value in values if isinstance(value, str | int))


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
    values = set(true_labels(found))
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
            f"the label {repr(label)} is not one of the task's labels.", where=where, hint=nearest(label, places)
        )
    return places[label]


def weights_of(
    rule: str | list[float],
    labels: tuple[str, ...],
    targets: Iterable[Iterable[Any]] | None,
    formulas: Mapping[str, Callable[[int, int], float]],
    where: str,
) -> list[float] | None:
    """One weight per label; None for "none", and where nothing is trained.

    A label without any training sample has no frequency. Nothing is learnt of it, so it weighs 1.

    Args:
        rule: the name of a formula, the weights themselves, or "none".
        labels: of the task.
        targets: labels of each training sample.
        formulas: name -> (samples, samples with the label) -> weight.
        where: the key of the recipe.

    Raises:
        RecipeError: not one weight per label.
    """
    if isinstance(rule, list):
        if len(rule) != len(labels):
            raise RecipeError(f"{len(rule)} weights for {len(labels)} labels.", where=where)
        return rule
    if rule == "none" or targets is None:
        return None
    occurring, samples = Counter[str](), 0
    for of_sample in targets:
        occurring.update({label_of(label, where) for label in true_labels(of_sample)})
        samples += 1
    return [formulas[rule](samples, occurring[label]) if occurring[label] else 1.0 for label in labels]
