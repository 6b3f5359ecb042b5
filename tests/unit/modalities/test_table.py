"""Tables: statistics of the training split, missing cells, categories, and tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from adaptkit.errors import DataError, RecipeError, RunError
from adaptkit.modalities import BackboneContext, Encoder
from adaptkit.modalities.table.cells import category
from adaptkit.modalities.table.encoder import TableEncoder
from adaptkit.modalities.table.table import TableModality

ROWS: list[Any] = [
    {"age": 10, "height": 1.5, "city": "Rome", "kind": 1},
    {"age": "30", "height": 1.5, "city": "Oslo", "kind": 1.0},
    {"age": None, "height": 1.5, "city": "Rome", "kind": "1"},
    {"age": 20.0, "height": "1.5", "city": "", "kind": None},
    {"age": "", "height": None, "city": None, "kind": float("nan")},
]


def build(**keys: Any) -> TableEncoder:
    given = {"columns": ["age", "height"], "categorical": ["city", "kind"], "categories": 2, **keys}
    table = TableModality(**{"kind": "table", "route": "side", "missing": "zero", **given})
    made = Encoder.build(table, "person", BackboneContext(width=8))
    assert isinstance(made, TableEncoder)
    return made


def batch(encoder: Encoder, *values: Any) -> dict[str, torch.Tensor]:
    return encoder.collate([encoder.prepare(value, "sample 7") for value in values], ["s"] * len(values))


def fitted(**keys: Any) -> TableEncoder:
    made = build(**keys)
    made.fit([batch(made, *ROWS[:2]), batch(made, *ROWS[2:])])
    return made


def test_numbers_are_standardised_and_missing_ones_are_marked() -> None:
    made = fitted(categorical=[])
    assert (made.width, made.tokens, made.needs_fit) == (4, 1, True)
    deviation = float(np.std([10, 30, 20]))
    found = made(batch(made, *ROWS[:3])).tensor[:, 0]
    expected = [[-10 / deviation, 0, 0, 0], [10 / deviation, 0, 0, 0], [0, 0, 1, 0]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_a_constant_column_is_safe_and_still_tells_other_values() -> None:
    made = fitted(columns=["height"], categorical=[])
    assert made(batch(made, {"height": 2.0})).tensor[0, 0].tolist() == [0.5, 0.0]


def test_categories_are_one_hot_with_an_unknown_one() -> None:
    made = fitted(columns=[])
    assert (made.width, made.tokens) == (6, 1)
    rows = made(batch(made, {"city": "Rome"}, {"city": "Oslo"}, {"city": "Paris"}, {"kind": 1})).tensor[:, 0]
    assert rows.sum(1).tolist() == [2.0] * 4
    city, kind = rows[:, :3], rows[:, 3:]
    assert city[2].tolist() == city[3].tolist() == [1.0, 0.0, 0.0]  # not in the training split, and missing
    assert sorted(city[:2].argmax(1).tolist()) == [1, 2]
    assert kind.argmax(1).tolist() == [0, 0, 0, 1]


def test_one_category_in_several_spellings() -> None:
    codes = {category(cell, "c", "s") for cell in (1, 1.0, "1", " 1 ")}
    assert len(codes) == 1
    assert codes != {category("01", "c", "s")}
    assert category("Rome", "c", "s") == -7165904934813368592  # the same on every machine, for ever


def test_the_commonest_categories_are_kept() -> None:
    made = build(columns=[], categorical=["c"], categories=2)
    made.fit([batch(made, *[{"c": c} for c in "abbccc"])])
    kept = {category(c, "c", "s") for c in "bc"}
    assert set(made.codes[0].tolist()) == kept
    assert made.codes[0].tolist() == sorted(made.codes[0].tolist())


def test_embeddings_are_learned_vectors_of_their_column() -> None:
    made = fitted(columns=[], embedding=3)
    assert made.width == 6
    assert made.categories is not None
    found = made(batch(made, {"city": "Paris", "kind": "1"})).tensor[0, 0]
    torch.testing.assert_close(found[:3], made.categories.weight[0])
    torch.testing.assert_close(found[3:], made.categories.weight[3 + 1])


def test_one_token_per_column() -> None:
    made = fitted(tokens="columns", width=5)
    assert (made.width, made.tokens) == (5, 4)
    side = made(batch(made, ROWS[0], ROWS[2], None))
    assert side.tensor.shape == (3, 4, 5)
    assert side.mask.tolist() == [[True] * 4, [True] * 4, [False] * 4]
    weight, bias, absent = made.numbers
    standardised = -10 / float(np.std([10, 30, 20]))
    torch.testing.assert_close(side.tensor[0, 0], standardised * weight[0] + bias[0])
    torch.testing.assert_close(side.tensor[1, 0], bias[0] + absent[0])
    side.tensor.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in made.parameters())
    numbers_only = fitted(tokens="columns", width=5, categorical=[])
    assert numbers_only(batch(numbers_only, ROWS[0])).tensor.shape == (1, 2, 5)
    assert fitted(tokens="columns", pool="mean").tokens == 1


def test_what_was_learned_travels_as_tensors() -> None:
    made, other = fitted(), build()
    other.load_state_dict(made.state_dict())
    inputs = batch(made, *ROWS)
    assert torch.equal(made(inputs).tensor, other(inputs).tensor)


def test_lists_are_in_the_order_of_the_recipe() -> None:
    made = fitted()
    inputs = batch(made, list(ROWS[0].values()), ROWS[0])
    assert torch.equal(inputs["numbers"][0], inputs["numbers"][1])
    assert torch.equal(inputs["codes"][0], inputs["codes"][1])


def test_a_row_without_any_value_is_absent() -> None:
    made = fitted()
    assert batch(made, ROWS[4], None, [None, "", float("nan"), None])["present"].tolist() == [False] * 3
    with pytest.raises(DataError, match="sample 7  person is absent"):
        build(missing="error").prepare(ROWS[4], "sample 7")


def test_the_mean_stands_in_after_its_statistics() -> None:
    made = fitted(missing="mean")
    side = made(batch(made, *ROWS[:4], None))
    torch.testing.assert_close(side.tensor[4], side.tensor[:4].mean(0))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"age": "old"}, "person.age is 'old', not a number"),
        ({"age": [1]}, r"person.age is '\[1\]', not a number"),
        ({"age": float("inf")}, "person.age is inf"),
        ({"city": ["a"]}, "person.city is a list, not a category"),
        ([1, 2], "person is of type list, or of another length. Expected 4 values: age, height, city, kind"),
        (3, "person is of type int"),
        ("text", "person is of type str"),
    ],
)
def test_what_is_no_row_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"sample 7  {message}"):
        build().prepare(value, "sample 7")


def test_before_fit_and_without_numbers_there_is_an_error() -> None:
    made = build()
    with pytest.raises(RunError, match="the means of person are not set"):
        made(batch(made, ROWS[0]))
    with pytest.raises(DataError, match=r"modality\.person\.columns  no training sample has a number in age"):
        made.fit([batch(made, ROWS[2])])
    with pytest.raises(RecipeError, match=r'table cannot take route = "backbone"'):
        build(route="backbone")
