"""Norms of sides: unit scale over what counts; one number alone stays."""

from __future__ import annotations

import torch

from adaptkit.adapters.norms import SequenceNorm, vector_norm


def test_a_sequence_is_normed_over_what_counts() -> None:
    x = torch.tensor([[[1.0, 3.0], [5.0, 7.0], [900.0, -900.0]]])
    mask = torch.tensor([[True, True, False]])
    out = SequenceNorm(2, eps=0.0)(x, mask)
    torch.testing.assert_close(out[0, :2], (x[0, :2] - 4.0) / 5.0**0.5)


def test_one_number_alone_stays_as_it_is() -> None:
    norm = SequenceNorm(1)
    x = torch.tensor([[[3.0], [8.0]], [[3.0], [8.0]], [[3.0], [8.0]]])
    out = norm(x, torch.tensor([[True, False], [True, True], [False, False]]))
    assert out[0, 0] == 3.0
    torch.testing.assert_close(out[1].flatten(), torch.tensor([-1.0, 1.0]), atol=1e-4, rtol=0)
    assert torch.isfinite(out).all()
    assert torch.equal(vector_norm(1)(x), x)
    assert float(vector_norm(2)(torch.tensor([1.0, 3.0])).std(unbiased=False).detach()) > 0.99
