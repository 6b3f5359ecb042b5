"""One vector of many, under masks: wherever padding stands and whatever it holds."""

from __future__ import annotations

import itertools

import pytest
import torch

from adaptkit.pooling import POOLS, AttentionPool

VECTORS = torch.tensor([[[9.0, 9.0], [1.0, 4.0], [3.0, 2.0]], [[9.0, 9.0], [9.0, 9.0], [9.0, 9.0]]])
MASK = torch.tensor([[False, True, True], [False, False, False]])


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (POOLS["mean"], [2.0, 3.0]),
        (POOLS["max"], [3.0, 4.0]),
        (POOLS["first"], [1.0, 4.0]),
        (POOLS["last"], [3.0, 2.0]),
        (AttentionPool(2), [2.0, 3.0]),
    ],
)
def test_only_tokens_that_count_are_pooled(pool, expected):
    """Padding may stand before the tokens (as decoders have it), and may hold anything."""
    vectors = VECTORS.clone()
    vectors[~MASK] = torch.nan
    assert pool(vectors, MASK).tolist() == [expected, [0.0, 0.0]]


@pytest.mark.parametrize("pool", ["mean", "max", "first", "last"])
def test_a_sample_is_pooled_as_its_tokens_alone_are(pool):
    """Whichever of four tokens count. What does not count may be NaN, in the gradient too."""
    mask = torch.tensor([*itertools.product([False, True], repeat=4)])
    vectors = torch.randn(*mask.shape, 3).masked_fill(~mask[:, :, None], torch.nan).requires_grad_()
    pooled = POOLS[pool](vectors, mask)
    (gradient,) = torch.autograd.grad(pooled.square().sum(), vectors)
    assert gradient.isfinite().all()
    assert not gradient[~mask].any()
    plain = {"mean": lambda x: x.mean(0), "max": lambda x: x.amax(0), "first": lambda x: x[0], "last": lambda x: x[-1]}
    for row, counts, found in zip(vectors, mask, pooled, strict=True):
        expected = plain[pool](row[counts]) if counts.any() else torch.zeros(3)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 if pool == "mean" else 0)


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
