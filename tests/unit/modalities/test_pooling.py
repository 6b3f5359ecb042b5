"""Which tokens of a long sample survive, and what encoders do around pooling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adaptkit.modalities import BackboneContext, Encoder
from adaptkit.modalities.arrays import kept
from adaptkit.modalities.features.table import FeaturesModality


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
