"""Vectors standardised by the training split: the statistics, what they ignore, and what they survive."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.artifact import load_artifact
from adaptkit.data.moments import Moments
from adaptkit.errors import DataError, RunError
from adaptkit.evaluation import evaluate
from adaptkit.modalities import BackboneContext, Encoder
from adaptkit.modalities.features.encoder import FeaturesEncoder
from adaptkit.modalities.features.table import FeaturesModality
from adaptkit.recipe import load_recipe
from adaptkit.training import train
from adaptkit.training.batches import neutralise
from tests.unit.modalities.test_features import side

RNG = np.random.default_rng(0)
LONG, SHORT = RNG.normal(5, 2, (4, 3)).astype(np.float32), RNG.normal(5, 2, (1, 3)).astype(np.float32)


def encoder(width: int = 3, **keys: Any) -> FeaturesEncoder:
    return FeaturesEncoder(width, **{"name": "video", "standardise": True, "missing": "zero", **keys})


def batch(made: Encoder, *values: Any) -> dict[str, torch.Tensor]:
    return made.collate([made.prepare(value, "s") for value in values], ["s"] * len(values))


def test_every_vector_that_counts_counts_once() -> None:
    """Padding, absent samples and what max_tokens cuts do not; nor does how the batches were cut."""
    made = encoder(max_tokens=3)
    assert made.needs_fit
    made.fit([batch(made, LONG, SHORT), batch(made, None, SHORT * 2)])
    seen = np.concatenate([LONG[:3], SHORT, SHORT * 2]).astype(np.float64)
    np.testing.assert_allclose(made.center, seen.mean(0), rtol=1e-6)
    np.testing.assert_allclose(made.scale, seen.std(0), rtol=1e-6)
    out = side(made, LONG, SHORT, None)
    np.testing.assert_allclose(out.tensor[0], (LONG[:3] - seen.mean(0)) / seen.std(0), rtol=1e-5)
    assert not out.tensor[1, 1:].any()
    assert not out.tensor[2].any()


@settings(deadline=None)
@given(
    st.integers(1, 60), st.sampled_from([1e-6, 1.0, 1e6]), st.sampled_from([0.0, 1.0, 1e3]), st.sampled_from([0.0, 0.5])
)
def test_batches_give_what_the_whole_gives(rows: int, unit: float, mean: float, gaps: float) -> None:
    rng = np.random.default_rng(rows)
    values = ((rng.normal(size=(rows, 2)) + mean) * unit).astype(np.float32)
    values[rng.random(values.shape) < gaps] = np.nan
    values[0] = mean * unit
    found = Moments(2)
    for part in np.array_split(values, np.sort(rng.integers(0, rows + 1, 3))):
        found.add(part)
    whole = values.astype(np.float64)
    np.testing.assert_array_equal(found.count, (~np.isnan(whole)).sum(0))
    np.testing.assert_allclose(found.mean, np.nanmean(whole, 0), rtol=1e-9, atol=1e-12 * unit)
    deviation = np.nanstd(whole, 0)
    varies = np.nanmin(whole, 0) < np.nanmax(whole, 0)
    np.testing.assert_allclose(found.scale[varies], deviation[varies], rtol=1e-5)
    assert (found.scale[~varies] == 1).all()


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e7, 1e-44, 3e38])
def test_a_constant_channel_is_only_shifted(constant: float) -> None:
    made = encoder(1)
    values = [np.full((n, 1), constant, dtype=np.float32) for n in (1, 3, 7)]
    made.fit([batch(made, value) for value in values])
    assert made.scale.item() == 1
    assert side(made, values[2]).tensor.abs().max() <= abs(constant) * 1e-6
    other = side(made, np.array([[constant + 1]], dtype=np.float32)).tensor
    assert other.isfinite().all()


def test_the_least_spread_gives_no_infinity() -> None:
    made = encoder(1)
    made.fit([batch(made, np.array([[0.0]] * 9 + [[1e-45]], dtype=np.float32))])
    assert side(made, np.array([[1.0]])).tensor.isfinite().all()


def test_memory_does_not_grow_with_the_training_split() -> None:
    made = encoder(256)
    one = {"values": torch.randn(64, 4, 256), "mask": torch.ones(64, 4, dtype=torch.bool)}
    tracemalloc.start()
    made.fit(one for _ in range(30))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * one["values"].numel() * 4


def test_what_stands_in_for_an_absent_sample_is_the_mean_of_what_goes_on() -> None:
    made = encoder(missing="mean")
    made.fit([batch(made, LONG, None), batch(made, SHORT)])
    torch.testing.assert_close(made.fill, torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(side(made, None).tensor[0, 0], made.fill)


def test_padding_is_never_read() -> None:
    made = encoder()
    inputs = batch(made, LONG, SHORT)
    padding = ~inputs["mask"][:, :, None]
    dirty = {**inputs, "values": inputs["values"].masked_fill(padding, torch.nan)}
    made.fit([dirty])
    clean, found = made(inputs).tensor, made(dirty).tensor
    assert clean.isfinite().all()
    assert torch.equal(clean, found)


def test_before_the_fit_there_is_an_error_and_without_anything_to_fit_too() -> None:
    made = encoder()
    with pytest.raises(RunError, match=r"modality.video  the means of video are not set. Call fit"):
        side(made, LONG)
    with pytest.raises(DataError, match=r"modality.video.standardise  no training sample has video"):
        made.fit([batch(made, None)])
    neutralise(made)
    assert torch.equal(side(made, LONG).tensor[0], torch.from_numpy(LONG))


def test_a_tower_and_an_encoder_get_the_standardised_vectors() -> None:
    config = {"vocab_size": 1, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    tower = {"model": "bert", "config": config}
    shared = {"kind": "features", "width": 3, "route": "side", "missing": "zero"}
    context, built = BackboneContext(width=8), []
    for standardise in (True, False):
        torch.manual_seed(0)
        table = FeaturesModality(**{**shared, "tower": tower, "standardise": standardise})  # type: ignore[arg-type]
        built.append(Encoder.build(table, "video", context).eval())
    ours, plain = built
    ours.fit([batch(ours, LONG, SHORT)])
    by_hand = [(value - ours.center.numpy()) / ours.scale.numpy() for value in (LONG, SHORT)]
    torch.testing.assert_close(side(ours, LONG, SHORT).tensor, side(plain, *by_hand).tensor)


def test_without_the_key_nothing_is_new() -> None:
    assert not encoder(standardise=False).state_dict()
    assert not encoder(standardise=False).needs_fit


def test_a_run_keeps_its_statistics_in_the_artifact(tiny_recipe: Path, tiny_data: Path, tmp_path: Path) -> None:
    import json

    rows = [json.loads(line)["features"] for line in (tiny_data / "train.jsonl").read_text().splitlines()]
    sets = ("modality.features.standardise=true", "train.epochs=1")
    result = train(load_recipe(tiny_recipe, sets), runs=tmp_path / "runs")
    kept: Any = load_artifact(result.artifact).encoders["features"]
    np.testing.assert_allclose(kept.center, np.float32(rows).mean(0), rtol=1e-6)
    np.testing.assert_allclose(kept.scale[:3], np.float32(rows).std(0)[:3], rtol=1e-5)
    assert kept.scale[3] == 1  # the data has a constant channel
    found = evaluate(result.artifact, device="cpu", data=None).metrics["test"]
    assert found["loss"] == pytest.approx(result.metrics["test"]["loss"])
    sample = {"question": "is the thing big ?", "features": [1e3, 0.0, 0.0, 1.0]}
    model = load_artifact(result.artifact)
    before = model.predict([sample])
    kept = model.encoders["features"]
    kept.center += 1e3
    assert model.predict([sample]) != before


@pytest.mark.parametrize(
    "keys",
    [
        ("modality.features.standardise=true",),
        ("modality.features.kind='table'", "modality.features.columns=['one']"),
    ],
)
def test_a_dropped_modality_with_statistics_trains(tiny_recipe: Path, tmp_path: Path, keys: tuple[str, ...]) -> None:
    text = tiny_recipe.read_text()
    if "table" in keys[0]:
        text, keys = text.replace('kind = "features"\nwidth = 4', 'kind = "table"\ncolumns = ["one"]'), ()
    tiny_recipe.write_text(text)
    recipe = load_recipe(tiny_recipe, (*keys, "data.drop=['features']", "train.epochs=1"))
    result = train(recipe, runs=tmp_path / "runs")
    assert result.metrics["test"]["loss"] is not None


@pytest.mark.parametrize("standardise", [False, True])
def test_a_training_tells_of_vectors_that_want_it(
    tiny_recipe: Path, tiny_data: Path, tmp_path: Path, standardise: bool
) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    rows = [json.loads(line) for line in (data / "train.jsonl").read_text().splitlines()]
    far = [{**row, "features": [100 + number / 100 for number in row["features"]]} for row in rows]
    (data / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in far))
    sets = (
        f"modality.features.standardise={json.dumps(standardise)}",
        "train.epochs=1",
        f"data.root={data.as_posix()}",
    )
    result = train(load_recipe(tiny_recipe, sets), runs=tmp_path / "runs")
    told = [text for text in result.warnings if "features hardly varies" in text]
    assert len(told) == (not standardise)
    assert all("modality.features.standardise = true" in text for text in told)
