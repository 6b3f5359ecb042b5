"""Feature vectors: padding, masks, pooling, truncation, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.errors import DataError
from adaptkit.modalities.encoder import Encoder
from adaptkit.modalities.features.encoder import FeaturesEncoder


def encoder(width: int = 3, **keys: Any) -> FeaturesEncoder:
    return FeaturesEncoder(width, **{"name": "video", **keys})


def side(made: Encoder, *values: Any) -> Any:
    prepared = [made.prepare(value, f"sample {i}") for i, value in enumerate(values)]
    return made(made.collate(prepared, [f"sample {i}" for i in range(len(values))]))


A = np.arange(6, dtype=np.float32).reshape(2, 3)  # two tokens
B = np.array([9.0, 9.0, 9.0])  # one


def test_sequences_are_padded_with_masked_zeros() -> None:
    out = side(encoder(), A, B)
    assert out.tensor.shape == (2, 2, 3)
    assert out.mask.tolist() == [[True, True], [True, False]]
    assert torch.equal(out.tensor[0], torch.from_numpy(A))
    assert out.tensor[1].tolist() == [[9.0] * 3, [0.0] * 3]
    assert out.present.tolist() == [True, True]


@pytest.mark.parametrize(
    ("pool", "expected"), [("mean", [1.5, 2.5, 3.5]), ("max", [3.0, 4.0, 5.0]), ("first", [0.0, 1.0, 2.0])]
)
def test_pooling_makes_one_token_and_ignores_padding(pool: str, expected: list[float]) -> None:
    out = side(encoder(pool=pool), A, np.vstack([A, A, A]), -B)
    assert out.tensor.shape == (3, 1, 3)
    assert out.tensor[0, 0].tolist() == expected
    assert out.tensor[2, 0].tolist() == [-9.0] * 3  # max over its one token, not over the zeros of padding
    assert encoder(pool=pool).tokens == 1


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.sampled_from(["none", "mean", "max", "first"]))
def test_a_sample_does_not_depend_on_the_batch_it_is_in(lengths: list[int], pool: str) -> None:
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(n, 3)) for n in lengths]
    made = encoder(pool=pool)
    batch = side(made, *values)
    for row, value in enumerate(values):
        alone = side(made, value)
        kept = batch.tensor[row][batch.mask[row]]
        torch.testing.assert_close(kept, alone.tensor[0])
        assert int(batch.mask[row].sum()) == (len(value) if pool == "none" else 1)


def test_max_tokens_keeps_the_first_ones() -> None:
    made = encoder(max_tokens=1)
    assert made.tokens == 1
    assert side(made, A).tensor.tolist() == [[[0.0, 1.0, 2.0]]]


def test_vectors_come_from_lists_arrays_and_npy_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", A.astype(np.float64))
    made = encoder()
    for value in (A, A.tolist(), tmp_path / "a.npy", str(tmp_path / "a.npy")):
        assert np.array_equal(made.prepare(value, "sample 1"), A)
        assert made.prepare(value, "sample 1").dtype == np.float32


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0, 2.0], r"sample 7  video has shape \(2,\); expected \(3,\) or \(T, 3\)"),
        (np.zeros((4, 5)), r"video has shape \(4, 5\); expected \(3,\) or \(T, 3\)"),
        (np.zeros((1, 2, 3)), r"video has shape \(1, 2, 3\)"),
        (np.zeros((0, 3)), r"video has shape \(0, 3\)"),
        (3.0, r"video has shape \(\)"),
        ([[1.0, 2.0, np.nan]], r"video has 1 values that are NaN or infinite, the first at \(0, 2\)"),
        ([1.0, -np.inf, np.inf], r"video has 2 values that are NaN or infinite, the first at \(0, 1\)"),
        (["a", "b", "c"], "video is not an array of numbers"),
        ([[1.0, 2.0, 3.0], [1.0]], "video is not an array of numbers"),
        (None, "video is absent. Or say what to do: modality.video.missing"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        encoder().prepare(value, "sample 7")


def test_files_that_are_no_arrays_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "exploded",)

    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Bomb()))
    np.save(tmp_path / "object.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    np.save(tmp_path / "text.npy", np.array(["a"]))
    np.savez(tmp_path / "many.npz", a=A, b=A)
    np.savez(tmp_path / "object.npz", np.array([Bomb()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "cut.npz", a=A)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:-40])
    with ZipFile(tmp_path / "pickle.npz", "w") as archive:
        archive.writestr("a.npy", pickle.dumps(Bomb()))
    (tmp_path / "empty.npy").write_bytes(b"")
    np.save(tmp_path / "cut.npy", A)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-4])
    named = ("pickle.npy", "object.npy", "text.npy", "empty.npy", "cut.npy", "nowhere.npy")
    for name in (*named, "pickle.npz", "object.npz", "many.npz", "cut.npz", "nowhere.npz"):
        with pytest.raises(DataError, match=f"sample 7  video: .*{name}"):
            encoder().prepare(tmp_path / name, "sample 7")
    assert not (tmp_path / "exploded").exists()
