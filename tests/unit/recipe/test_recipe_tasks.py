"""Tasks against modalities, and what `[data] drop` may leave out."""

from __future__ import annotations

import pytest

from adaptkit.errors import RecipeError
from adaptkit.recipe import parse_recipe

PLOT = {"kind": "text", "route": "backbone"}
POSTER = {"kind": "features", "width": 64, "route": "fusion"}
CAPTION = {"kind": "features", "width": 8, "route": "query"}
MATCH = {"kind": "retrieval", "query": "caption", "column": "video_id"}


def lines(task: dict, drop: list[str] | None = None, **modalities: dict) -> list[str]:
    """The problems of a recipe; none if it is right."""
    tables = {
        "name": "films",
        "backbone": {"model": "bert-base"},
        "modality": {"plot": PLOT, **modalities},
        "data": {"format": "jsonl", **({"drop": drop} if drop is not None else {})},
        "task": {"match": task},
    }
    try:
        parse_recipe(tables)
    except RecipeError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_a_retrieval_task() -> None:
    assert lines(MATCH, caption=CAPTION, poster=POSTER) == []


@pytest.mark.parametrize(
    ("change", "modalities", "expected"),
    [
        (
            {"query": "captoin"},
            {"caption": CAPTION},
            'task.match.query: the recipe has no modality "captoin". Did you mean "caption"?',
        ),
        (
            {"query": "poster"},
            {"poster": POSTER},
            'task.match.query: "poster" is routed "fusion", so it is part of the item that it asks for.'
            ' Write route = "query" in [modality.poster].',
        ),
        (
            {"query": "plot"},
            {},
            'task.match.query: "plot" is routed "backbone", so it is part of the item that it asks for.'
            ' Write route = "query" in [modality.plot].',
        ),
        (
            {"kind": "classification", "query": None},
            {"caption": CAPTION},
            "modality.caption.route: no task reads this query."
            ' Write query = "caption" in a task that has this key, or give it another route.',
        ),
    ],
)
def test_queries_that_cannot_be(change: dict, modalities: dict, expected: str) -> None:
    task = {key: value for key, value in (MATCH | change).items() if value is not None}
    assert expected in lines(task, **modalities)


def test_adapters_cannot_read_a_query() -> None:
    tables = {
        "name": "films",
        "backbone": {"model": "bert-base"},
        "modality": {"plot": PLOT, "caption": CAPTION},
        "adapter": {"fuse": {"kind": "gmu", "at": ["mlp.out"], "sides": ["caption"]}},
        "data": {"format": "jsonl"},
        "task": {"match": MATCH},
    }
    with pytest.raises(RecipeError, match='"caption" is routed "query", where no adapter can read it'):
        parse_recipe(tables)


def test_what_can_be_dropped() -> None:
    assert lines(MATCH, ["poster"], caption=CAPTION, poster=POSTER) == []
    assert lines(MATCH, ["poster"], caption=CAPTION, poster=POSTER | {"missing": "learned"}) == []


@pytest.mark.parametrize(
    ("drop", "expected"),
    [
        (["postr"], 'data.drop: the recipe has no modality "postr". Did you mean "poster"?'),
        (["poster", "poster"], 'data.drop: "poster" is named twice.'),
        (
            ["plot"],
            'data.drop: "plot" is the backbone\'s own input and cannot be dropped. Drop some of ["poster", "mean"].',
        ),
        (
            ["caption"],
            'data.drop: "caption" is the query of a task and cannot be dropped. Drop some of ["poster", "mean"].',
        ),
        (
            ["mean"],
            'data.drop: "mean" has no mean to stand in for it where every sample lacks it.'
            ' Write modality.mean.missing = "zero" or "learned".',
        ),
    ],
)
def test_what_cannot_be_dropped(drop: list[str], expected: str) -> None:
    modalities = {"caption": CAPTION, "poster": POSTER, "mean": POSTER | {"missing": "mean"}}
    assert lines(MATCH, drop, **modalities) == [expected]


@pytest.mark.parametrize("conventions", ["mosi", "sims"])
def test_conventions_of_one_number_take_one_number(conventions: str) -> None:
    task = {"kind": "regression", "conventions": conventions}
    assert lines(task) == []
    (line,) = lines(task | {"outputs": 2})
    assert "write outputs = 1" in line
