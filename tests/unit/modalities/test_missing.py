"""Absent modalities: what stands in, the masks, modality dropout, and the mean of the training split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from adaptkit.errors import DataError, RecipeError, RunError
from adaptkit.modalities import BackboneContext, Encoder
from adaptkit.modalities.features.encoder import FeaturesEncoder
from adaptkit.modalities.features.table import FeaturesModality
from adaptkit.modalities.text.table import TextModality

SEQUENCE = np.ones((3, 2), dtype=np.float32)


def encoder(missing: str, *, dropout: float = 0.0, **keys: Any) -> FeaturesEncoder:
    return FeaturesEncoder(2, name="video", missing=missing, modality_dropout=dropout, **keys)


def batch(made: Encoder, *values: Any) -> dict[str, torch.Tensor]:
    return made.collate([made.prepare(value, "s") for value in values], ["s"] * len(values))


def test_zero_gives_an_absent_sample_no_token_at_all() -> None:
    made = encoder("zero")
    out = made(batch(made, SEQUENCE, None))
    assert out.mask.tolist() == [[True] * 3, [False] * 3]
    assert not out.tensor[1].any()
    assert out.present.tolist() == [True, False]
    assert not list(made.parameters())


def test_learned_gives_one_trainable_token_to_absent_samples_only() -> None:
    made = encoder("learned")
    with torch.no_grad():
        made.fill.copy_(torch.tensor([5.0, 6.0]))
    out = made(batch(made, SEQUENCE, None))
    assert out.mask.tolist() == [[True] * 3, [True, False, False]]
    assert out.tensor[1].tolist() == [[5.0, 6.0], [0.0, 0.0], [0.0, 0.0]]
    assert torch.equal(out.tensor[0], torch.from_numpy(SEQUENCE))
    out.tensor.sum().backward()
    assert made.fill.grad is not None
    assert made.fill.grad.tolist() == [1.0, 1.0]  # one absent sample


def test_a_batch_of_absent_samples_works() -> None:
    for missing in ("zero", "learned"):
        made = encoder(missing, pool="mean")
        out = made(batch(made, None, None))
        assert out.tensor.shape == (2, 1, 2)
        assert out.tensor.isfinite().all()
        assert out.present.tolist() == [False, False]


def test_mean_is_that_of_all_tokens_of_all_present_samples() -> None:
    made = encoder("mean")
    assert made.needs_fit
    first = batch(made, np.array([[1.0, 2.0], [3.0, 4.0]]), None)
    second = batch(made, np.array([5.0, 9.0]))
    made.fit([first, second])
    assert made.fill.tolist() == [3.0, 5.0]
    assert made(first).tensor[1, 0].tolist() == [3.0, 5.0]
    assert "fill" in made.state_dict()


def test_mean_before_fit_is_an_error_not_a_number() -> None:
    made = encoder("mean")
    with pytest.raises(RunError, match="the mean of video is not set"):
        made(batch(made, None))
    with pytest.raises(DataError, match="no training sample has video"):
        made.fit([batch(made, None)])


def test_nothing_else_can_be_fitted() -> None:
    assert not encoder("zero").needs_fit
    with pytest.raises(AssertionError):
        encoder("zero").fit([])


def test_modality_dropout_drops_that_share_in_training_only() -> None:
    torch.manual_seed(0)
    made = encoder("zero", dropout=0.3)
    inputs = batch(made, *[SEQUENCE] * 2000)
    dropped = 1 - made.train()(inputs).present.float().mean().item()
    assert dropped == pytest.approx(0.3, abs=0.03)
    assert made.eval()(inputs).present.all()


def test_a_dropped_sample_looks_exactly_like_an_absent_one() -> None:
    made = encoder("learned", dropout=0.999999)
    with torch.no_grad():
        made.fill.copy_(torch.tensor([5.0, 6.0]))
    dropped, absent = made(batch(made, SEQUENCE)), made.eval()(batch(made, None))
    assert dropped.present.tolist() == [False]
    assert torch.equal(dropped.tensor[0, :1], absent.tensor[0, :1])
    assert not dropped.tensor[0, 1:].any()


def test_dropping_a_modality_by_its_flag_works_whatever_missing_says() -> None:
    made = encoder("error")
    inputs = batch(made, SEQUENCE)
    out = made({**inputs, "present": torch.tensor([False])})
    assert not out.mask.any()
    assert not out.tensor.any()


def test_combinations_that_cannot_work_are_refused() -> None:
    context = BackboneContext(width=8, tokenizer=lambda: None)
    text = TextModality(kind="text", route="backbone", missing="learned")
    with pytest.raises(RecipeError, match=r"modality\.plot\.missing  plot goes to the backbone itself"):
        Encoder.build(text, "plot", context)
    # The recipe refuses this as well; the encoder must not rely on it.
    with pytest.raises(RecipeError, match="missing must say what stands in"):
        encoder("error", dropout=0.5)
    features = FeaturesModality(kind="features", route="backbone", width=2)
    with pytest.raises(RecipeError, match="no backbone reads them"):
        Encoder.build(features, "video", context)
