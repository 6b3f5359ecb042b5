"""Pooling under masks, and which tokens of a long sample survive."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adaptkit.modalities import BackboneContext, Encoder
from adaptkit.modalities.features.table import FeaturesModality
from adaptkit.modalities.pooling import POOLS, AttentionPool, kept

VECTORS = torch.tensor([[[9.0, 9.0], [1.0, 4.0], [3.0, 2.0]], [[9.0, 9.0], [9.0, 9.0], [9.0, 9.0]]])
MASK = torch.tensor([[False, True, True], [False, False, False]])


@pytest.mark.parametrize(
    ("pool", "expected"),
    [(POOLS["mean"], [2.0, 3.0]), (POOLS["max"], [3.0, 4.0]), (POOLS["first"], [1.0, 4.0])],
)
def test_only_tokens_that_count_are_pooled(pool, expected):
    """Padding may stand before the tokens (as decoders have it), and may hold anything."""
    vectors = VECTORS.clone()
    vectors[~MASK] = torch.nan
    assert pool(vectors, MASK).tolist() == [expected, [0.0, 0.0]]


def test_attention_starts_as_the_mean_and_follows_its_query():
    pool = AttentionPool(2, hidden=1)
    assert pool(VECTORS, MASK).tolist() == [[2.0, 3.0], [0.0, 0.0]]
    with torch.no_grad():
        pool.project.weight.copy_(torch.tensor([[1.0, 0.0]]))
        pool.project.bias.zero_()
        pool.score.weight.fill_(2.0)
    scores = 2 * torch.tanh(torch.tensor([1.0, 3.0]))
    weights = scores.exp() / scores.exp().sum()
    expected = weights[0] * VECTORS[0, 1] + weights[1] * VECTORS[0, 2]
    torch.testing.assert_close(pool(VECTORS, MASK)[0], expected)


def test_attention_learns_all_of_it_within_two_steps():
    pool = AttentionPool(2, hidden=3)
    optimizer = torch.optim.SGD(pool.parameters(), lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        pool(VECTORS, MASK).square().sum().backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in pool.parameters())


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["first", "last", "middle", "even"]))
def test_what_is_kept(length, limit, keep):
    index = kept(length, limit, keep)
    assert len(index) == min(length, limit)
    assert (np.diff(index) > 0).all()
    assert 0 <= index[0] <= index[-1] < length
    cut = length - len(index)
    assert index[0] == {"first": 0, "last": cut, "middle": cut // 2}.get(keep, index[0])
    if keep == "even":
        assert abs(index[0] - (length - 1 - index[-1])) <= 1  # as far from the start as from the end


def test_nothing_is_cut_without_a_limit():
    assert kept(5, None, "last").tolist() == [0, 1, 2, 3, 4]


def features(**keys) -> Encoder:
    table = FeaturesModality(**{"kind": "features", "route": "side", "width": 2, **keys})
    return Encoder.build(table, "clip", BackboneContext(width=8))


@pytest.mark.parametrize(
    ("keep", "expected"), [("first", [0, 1]), ("last", [4, 5]), ("middle", [2, 3]), ("even", [1, 4])]
)
def test_long_features_are_cut_as_the_recipe_says(keep, expected):
    encoder = features(max_tokens=2, keep=keep)
    value = np.arange(6, dtype=np.float32)[:, None].repeat(2, 1)
    assert encoder.prepare(value, "s")[:, 0].tolist() == expected
    assert (encoder.length(value), encoder.limit, encoder.unit) == (6, 2, "vectors")


def test_train_false_freezes_what_the_encoder_brings():
    trained = features(pool="attention", missing="learned")
    frozen = features(pool="attention", missing="learned", train=False)
    assert {name for name, _ in frozen.named_parameters()} == {name for name, _ in trained.named_parameters()}
    assert len(list(frozen.parameters())) == 4
    assert all(p.requires_grad for p in trained.parameters())
    assert not any(p.requires_grad for p in frozen.parameters())


def test_an_absent_sample_is_filled_after_pooling():
    encoder = features(pool="attention", missing="learned")
    with torch.no_grad():
        encoder.fill.copy_(torch.tensor([5.0, 6.0]))
    values = [encoder.prepare(v, "s") for v in ([[1.0, 2.0], [3.0, 4.0]], None)]
    side = encoder(encoder.collate(values, ["a", "b"]))
    assert side.tensor.tolist() == [[[2.0, 3.0]], [[5.0, 6.0]]]
    assert side.mask.tolist() == [[True], [True]]
    assert (encoder.tokens, encoder.limit) == (1, None)
