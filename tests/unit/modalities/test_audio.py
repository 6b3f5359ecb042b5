"""Sound: reading and resampling, log-mel frames, and towers that hear."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from adaptkit.errors import DataError, RecipeError, UnavailableError
from adaptkit.modalities import BackboneContext, Encoder
from adaptkit.modalities.audio.encoder import AudioEncoder
from adaptkit.modalities.audio.log_mel import AUDIOSET, LogMel
from adaptkit.modalities.audio.table import AudioModality
from adaptkit.modalities.audio.waveform import read_waveform, waveform_length

RATE = 16000
NOISE = (np.random.default_rng(0).normal(size=6000) * 0.1).astype(np.float32)


def build(**keys: Any) -> AudioEncoder:
    table = AudioModality(**{"kind": "audio", "route": "side", **keys})
    made = Encoder.build(table, "voice", BackboneContext(width=8))
    assert isinstance(made, AudioEncoder)
    return made


def read(value: Any, rate: int = RATE, limit: int | None = None, keep: str = "first") -> np.ndarray:
    return read_waveform(value, rate, limit, keep, name="voice", where="sample 7")


def side(encoder: Encoder, *values: Any) -> Any:
    return encoder(encoder.collate([encoder.prepare(v, "s") for v in values], ["s"] * len(values)))


def tone(rate: int, seconds: float, hertz: float = 440.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32) * 0.5


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_files_are_read_as_mono_floats(tmp_path: Path, suffix: str) -> None:
    stereo = np.stack([NOISE, np.zeros_like(NOISE)], axis=1)
    soundfile.write(tmp_path / f"a.{suffix}", stereo, RATE)
    found = read(tmp_path / f"a.{suffix}")
    assert (found.dtype, found.shape) == (np.float32, NOISE.shape)
    loss = 0.02 if suffix == "ogg" else 1e-4
    assert np.abs(found - NOISE / 2).mean() < loss
    assert waveform_length(tmp_path / f"a.{suffix}", RATE, name="v", where="") == len(NOISE)


@pytest.mark.parametrize("source", [8000, 22050, 44100, 48000])
def test_resampling_keeps_a_tone_and_its_length(tmp_path: Path, source: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(source, 0.5), source)
    found = read(tmp_path / "a.wav")
    assert len(found) == RATE // 2 == waveform_length(tmp_path / "a.wav", RATE, name="v", where="")
    inner = slice(500, -500)  # the filter rings at the ends
    np.testing.assert_allclose(found[inner], tone(RATE, 0.5)[inner], atol=2e-3)


@pytest.mark.parametrize(("keep", "start"), [("first", 0), ("last", 5000), ("middle", 2500)])
def test_of_a_long_clip_only_the_part_that_is_kept_is_read(tmp_path: Path, keep: str, start: int) -> None:
    soundfile.write(tmp_path / "a.wav", NOISE, RATE, subtype="FLOAT")
    for value in (tmp_path / "a.wav", NOISE):
        assert np.array_equal(read(value, limit=1000, keep=keep), NOISE[start : start + 1000])
    half = tone(8000, 1.0)
    soundfile.write(tmp_path / "slow.wav", half, 8000, subtype="FLOAT")
    assert len(read(tmp_path / "slow.wav", limit=1001, keep=keep)) == 1001


def test_arrays_of_any_kind_mean_the_same(tmp_path: Path) -> None:
    whole = (NOISE * 32768).round().astype(np.int16)
    expected = whole / np.float32(32768)
    soundfile.write(tmp_path / "a.wav", whole, RATE)
    raw = (tmp_path / "a.wav").read_bytes()
    stereo = np.stack([whole, whole])
    forms = (
        whole,
        expected.tolist(),
        stereo,
        stereo.T,
        raw,
        str(tmp_path / "a.wav"),
        {"bytes": raw, "path": None},
        {"bytes": None, "path": tmp_path / "a.wav"},
        {"array": whole, "sampling_rate": RATE},
    )
    for value in forms:
        np.testing.assert_allclose(read(value), expected, atol=1e-7)
    assert len(read({"array": NOISE, "sampling_rate": 8000})) == 2 * len(NOISE)
    silence = np.full(100, 128, dtype=np.uint8)
    assert not read(silence).any()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(0), "voice is empty: it has no sample"),
        ([0.0, np.nan], r"voice has 1 values that are NaN or infinite, the first at \(1,\)"),
        (np.zeros((2, 2, 2)), r"voice has shape \(2, 2, 2\); expected"),
        (["a"], "voice is not an array of numbers"),
        ({"array": [0.0], "sampling_rate": "fast"}, "voice has the sampling rate 'fast'"),
        ({"bytes": b"no sound", "path": None}, "the sound is not readable sound"),
    ],
)
def test_what_is_no_sound_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"sample 7  .*{message}"):
        read(value)


def test_files_that_are_no_sound_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    soundfile.write(tmp_path / "empty.wav", NOISE[:0], RATE)
    soundfile.write(tmp_path / "cut.flac", NOISE, RATE)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "cut.flac").read_bytes()[:2000])
    soundfile.write(tmp_path / "cut.wav", NOISE, RATE)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:2000])
    soundfile.write(tmp_path / "nan.wav", np.array([0, np.nan], dtype=np.float32), RATE, subtype="FLOAT")
    for name, message in (
        ("text.wav", "is not readable sound"),
        ("nowhere.wav", "does not exist"),
        ("cut.flac", "is cut off|is not readable sound"),
        ("cut.wav", "is cut off"),
        ("empty.wav", "it has no sample"),
        ("nan.wav", "NaN or infinite"),
    ):
        with pytest.raises(DataError, match=f"sample 7  voice.*({message})"):
            read(tmp_path / name)


def test_without_soundfile_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(UnavailableError, match=r'pip install "adaptkit\[audio\]"'):
        read("a.wav")


def test_log_mel_is_that_of_transformers() -> None:
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    filters = mel_filter_bank(257, 80, 20, 8000, RATE, mel_scale="kaldi", triangularize_in_mel_space=True)
    window = window_function(400, "hann", periodic=False)
    expected = spectrogram(
        NOISE, window, 400, 160, 512, power=2.0, center=False, mel_filters=filters, log_mel="log", mel_floor=1e-10
    )
    found = LogMel(RATE, 80, 160, 400)(NOISE)
    mean, scale = AUDIOSET
    np.testing.assert_allclose(found.values, (expected.T - mean) / scale, rtol=1e-4, atol=1e-5)
    assert found.count == len(found.values) == LogMel(RATE, 80, 160, 400).frames(len(NOISE))


def test_frames_are_tokens_and_silence_is_finite() -> None:
    encoder = build(seconds=0.2, missing="zero", bins=40)
    assert (encoder.width, encoder.tokens, encoder.limit, encoder.unit) == (40, 18, 3200, "samples")
    out = side(encoder, NOISE, NOISE[:1000], np.zeros(10), None)
    assert out.tensor.shape == (4, 18, 40)
    assert out.mask.sum(1).tolist() == [18, 4, 1, 0]
    assert out.tensor.isfinite().all()
    assert encoder.length(NOISE) == 6000
    assert build().tokens is None
    assert build(seconds=0.2, pool="mean").tokens == 1


def test_hop_and_window_are_milliseconds_of_any_rate() -> None:
    encoder = build(sampling_rate=8000, seconds=1.0, hop=20, window=50)
    assert encoder.mel == LogMel(8000, 80, 160, 400)
    assert encoder.tokens == 1 + (8000 - 400) // 160


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
HEARS = {**SMALL, "conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
AST = {**SMALL, "max_length": 40, "num_mel_bins": 16}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "num_mel_bins": 20,
    "max_source_positions": 20,
    "vocab_size": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
TOWERS = {
    # Without a mask in its convolutions, as published; with one where the norm is over the layer.
    "wav2vec2": ({"model": "wav2vec2", "config": {**HEARS, "feat_extract_norm": "layer"}}, 9, [9, 3, 0]),
    "hubert": ({"model": "hubert", "config": HEARS}, 9, [9, 3, 0]),
    "wavlm": ({"model": "wavlm", "config": HEARS}, 9, [9, 3, 0]),
    # Patches of 16 x 16 every 10 of a spectrogram that is always full, with two tokens before them.
    "ast": ({"model": "audio-spectrogram-transformer", "config": AST}, 5, [5, 5, 0]),
    "whisper": ({"model": "whisper", "config": WHISPER}, 20, [10, 4, 0]),
}


@pytest.mark.parametrize(("tower", "tokens", "counts"), TOWERS.values(), ids=TOWERS)
def test_a_tower_hears(tower: Any, tokens: int, counts: Any) -> None:
    encoder = build(tower=tower, seconds=0.2, missing="zero")
    assert (encoder.width, encoder.tokens, encoder.limit) == (16, tokens, 3200)
    out = side(encoder, NOISE, NOISE[:1200], None)
    assert out.tensor.shape == (3, tokens, 16)
    assert out.mask.sum(1).tolist() == counts
    assert out.tensor.isfinite().all()
    assert not out.tensor[2].any()


def test_a_sound_does_not_depend_on_its_batch() -> None:
    encoder = build(tower=TOWERS["wav2vec2"][0])
    both, alone = side(encoder, NOISE, NOISE[:1200]), side(encoder, NOISE[:1200])
    torch.testing.assert_close(both.tensor[1, :3], alone.tensor[0], rtol=1e-4, atol=1e-5)
    assert encoder.tokens is None


def test_a_tower_of_fixed_length_cuts_what_it_cannot_hear() -> None:
    assert build(tower=TOWERS["whisper"][0]).limit == 40 * 160
    assert build(tower=TOWERS["ast"][0]).limit == 400 + 39 * 160


def test_the_features_are_those_of_the_published_extractors() -> None:
    from transformers import ASTFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

    options: Any = {"sampling_rate": RATE, "return_tensors": "np"}
    ast = ASTFeatureExtractor(num_mel_bins=16, max_length=40)(NOISE, **options)["input_values"][0]
    wave = Wav2Vec2FeatureExtractor()(NOISE, **options)["input_values"][0]
    whisper = WhisperFeatureExtractor(feature_size=20)(NOISE, max_length=6400, **options)["input_features"][0]
    for name, expected in (("ast", ast), ("wav2vec2", wave), ("whisper", whisper.T)):
        found = build(tower=TOWERS[name][0]).prepare(NOISE, "s")
        assert np.array_equal(found.values, expected)


def test_what_a_tower_cannot_hear_is_refused() -> None:
    with pytest.raises(RecipeError, match="the tower hears 16000 samples per second, not 8000"):
        build(tower=TOWERS["hubert"][0], sampling_rate=8000)
    with pytest.raises(DataError, match="s  voice has 300 samples, and the tower needs 400"):
        build(tower=TOWERS["hubert"][0]).prepare(NOISE[:300], "s")
    with pytest.raises(RecipeError, match=r'audio cannot take route = "backbone"'):
        build(route="backbone")


@pytest.mark.parametrize("keys", [{}, {"tower": TOWERS["whisper"][0]}], ids=["log_mel", "tower"])
def test_an_encoder_that_has_heard_can_be_copied_and_pickled(keys: Any) -> None:
    encoder = build(**keys)
    expected = side(encoder, NOISE).tensor
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert torch.equal(side(other, NOISE).tensor, expected)
