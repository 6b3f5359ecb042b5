"""Ranks over the whole gallery: by hand, ties, several queries of an item, and in chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.tasks.retrieval.metrics import retrieval
from tests.unit.tasks.measuring import compute

GALLERY = np.eye(3)
#                    of item 0      0, far away  1              2, the same as that of 1
QUERIES = np.array([[0.8, 0.6, 0], [0, 0.6, 0.8], [0.6, 0.8, 0], [0.6, 0.8, 0]])
ITEMS = np.array([7, 7, 11, 5])
OUTPUTS = np.hstack([QUERIES, GALLERY[[0, 0, 1, 2]]])


def test_by_hand() -> None:
    values, notes = compute("retrieval", OUTPUTS, ITEMS)
    # ranks of the queries 1, 3, 1, 3
    assert values["q2g_r1"] == 1 / 2
    assert values["q2g_r5"] == values["q2g_r10"] == 1
    assert values["q2g_mdr"] == values["q2g_mnr"] == 2
    # item 7: own .8 before .6, .6; item 11: own .8 as near as .8, before .6; item 5: .8 before own 0, as near as 0
    ranks = [1, 1.5, 2.5]
    assert values["g2q_r1"] == 1 / 3
    assert values["g2q_mdr"] == 1.5
    assert values["g2q_mnr"] == pytest.approx(np.mean(ranks))
    assert values["n_gallery"] == 3
    assert notes == ["recall at 10 says nothing: the gallery has 3 items", "g2q: 2 of 3 ranks are means over ties"]


def test_a_collapsed_model_finds_nothing() -> None:
    values, notes = retrieval(np.ones((11, 6)), np.arange(11))
    for way in ("q2g", "g2q"):
        assert (values[f"{way}_r1"], values[f"{way}_r5"], values[f"{way}_r10"]) == (0, 0, 1)
        assert values[f"{way}_mdr"] == values[f"{way}_mnr"] == 6
        assert f"{way}: 11 of 11 ranks are means over ties" in notes


def test_noise_of_float32_breaks_no_tie() -> None:
    rng = np.random.default_rng(0)
    vectors = np.float32(1) + rng.integers(-1, 2, (12, 6)).astype(np.float32) * np.finfo(np.float32).eps
    assert retrieval(vectors, np.arange(12))[0]["q2g_r1"] == 0


def test_one_sample() -> None:
    values, notes = retrieval(np.array([[1.0, 0, -1, 0]]), np.array([3]))
    assert values["q2g_r1"] == values["g2q_mnr"] == values["n_gallery"] == 1
    assert notes == ["recall at 10 says nothing: the gallery has 1 item"]


def test_lengths_and_the_order_of_samples_do_not_matter() -> None:
    order = np.array([2, 0, 3, 1])
    scaled = OUTPUTS * [[5, 5, 5, 0.1, 0.1, 0.1]]
    assert retrieval(scaled[order], ITEMS[order])[0] == pytest.approx(retrieval(OUTPUTS, ITEMS)[0])


def test_samples_of_an_item_that_look_different_are_told() -> None:
    outputs = np.array([[1.0, 0, 1, 0], [1, 0, 0, 1]])
    _, notes = retrieval(outputs, np.array([4, 4]))
    assert "samples of one item have different vectors (apart by up to 1): the first one counts" in notes


@given(st.integers(0, 10_000), st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_equals_the_definition_written_out_in_chunks_of_any_size(seed: int, cells: int) -> None:
    rng = np.random.default_rng(seed)
    items = rng.integers(0, 6, 15)
    gallery = rng.integers(-2, 3, (6, 3)) + np.array([0.5, 0.25, 0.125])
    queries = rng.integers(-2, 3, (15, 3)) + np.array([0.25, 0.5, 0.125])
    values, _ = retrieval(np.hstack([queries, gallery[items]]), items, cells)
    there = sorted(set(items.tolist()))

    def cosine(query: int, item: int) -> float:
        a, b = queries[query], gallery[item]
        return round(float(a @ b / np.sqrt((a @ a) * (b @ b))), 9)

    def rank(own: float, others: list[float]) -> float:
        return 1 + sum(other > own for other in others) + sum(other == own for other in others) / 2

    forth = [rank(cosine(q, i), [cosine(q, g) for g in there if g != i]) for q, i in enumerate(items.tolist())]
    best = {(g, i): max(cosine(q, i) for q in np.flatnonzero(items == g).tolist()) for g in there for i in there}
    back = [rank(best[i, i], [best[g, i] for g in there if g != i]) for i in there]
    for way, ranks in (("q2g", forth), ("g2q", back)):
        assert values[f"{way}_mnr"] == pytest.approx(np.mean(ranks))
        assert values[f"{way}_mdr"] == pytest.approx(np.median(ranks))
        for k in (1, 5, 10):
            assert values[f"{way}_r{k}"] == pytest.approx(np.mean([r <= k for r in ranks]))
