"""Videos: which frames are chosen, that they are exactly those, and what they become."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from adaptkit.errors import DataError, UnavailableError
from adaptkit.modalities import BackboneContext, Encoder
from adaptkit.modalities.arrays import kept
from adaptkit.modalities.video import frames
from adaptkit.modalities.video.frames import frames_length, read_frames
from adaptkit.modalities.video.table import VideoModality

VIT = {
    "model": "vit",
    "config": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "image_size": 8,
        "patch_size": 4,
    },
}


def write(path: Path, count: int = 60, *, rate: int = 25, between: int = 0) -> Path:
    """A video whose frame i is grey of brightness 4 i, with a key frame every 12 and so many B-frames between."""
    with av.open(str(path), "w") as container:
        # A jump in brightness would start a new group of pictures.
        stream = container.add_stream("mpeg4", rate=rate, options={"sc_threshold": "1000000000"})
        stream.width = stream.height = 32
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 12, between
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 4 * index % 256, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(value: Any, limit: int | None = 8, keep: str = "even") -> list[Any]:
    return read_frames(value, limit, keep, name="clip", where="sample 7")


def build(**keys: Any) -> Encoder:
    table = VideoModality(**{"kind": "video", "route": "side", **keys})
    return Encoder.build(table, "clip", BackboneContext(width=8))


def side(encoder: Encoder, *values: Any) -> Any:
    return encoder(encoder.collate([encoder.prepare(v, "s") for v in values], ["s"] * len(values)))


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
@pytest.mark.parametrize("between", [0, 2])
@pytest.mark.parametrize("keep", ["even", "first", "middle", "last"])
def test_exactly_the_frames_that_are_wanted_are_decoded(tmp_path: Path, suffix: str, between: int, keep: str) -> None:
    path = write(tmp_path / f"a.{suffix}", between=between)
    found = [frame.mean() / 4 for frame in read(path, keep=keep)]
    np.testing.assert_allclose(found, kept(60, 8, keep), atol=0.45)
    assert frames_length(path, name="clip", where="") == 60


@pytest.mark.parametrize(("keep", "expected"), [("first", 2), ("last", 12), ("even", 14)])
def test_only_what_is_needed_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, expected: int
) -> None:
    """Decoding starts at the key frame before a wanted one (every 12th), not at the beginning."""
    decoded: list[int] = []
    original = frames._Video._decoded

    def counting(self: Any, stream: Any) -> Iterator[Any]:
        for number, frame in original(self, stream):
            decoded.append(number)
            yield number, frame

    monkeypatch.setattr(frames._Video, "_decoded", counting)
    assert len(read(write(tmp_path / "a.mp4"), 2, keep)) == 2
    assert len(decoded) == expected


def test_a_short_video_gives_all_its_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 3, rate=7)
    encoder = build(size=4, channels=1, missing="zero")
    out = side(encoder, path, None, np.zeros((9, 5, 5, 3), dtype=np.uint8))
    assert out.tensor.shape == (3, 8, 16)
    assert out.mask.sum(1).tolist() == [3, 0, 8]
    assert (encoder.width, encoder.tokens, encoder.limit, encoder.unit) == (16, 8, 8, "frames")
    assert (encoder.length(path), encoder.length(np.zeros((9, 5, 5)))) == (3, 9)


def test_a_folder_of_frames_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for index in range(12):
        Image.new("L", (4, 4), 20 * index).save(tmp_path / f"frame{index}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    value = build(size=2, channels=1, frames=4, keep="last").prepare(tmp_path, "s")
    np.testing.assert_allclose(value[:, 0, 0, 0], np.array([160, 180, 200, 220]) / 255, rtol=1e-5)
    assert frames_length(tmp_path, name="clip", where="") == 12


@pytest.mark.parametrize("shape", [(5, 6, 7, 3), (5, 3, 6, 7), (5, 6, 7)])
def test_arrays_are_cut_and_normalised(shape: tuple[int, ...]) -> None:
    encoder = build(size=[6, 7], channels=3, frames=2, keep="middle", mean=0.5, std=0.25)
    array = np.random.default_rng(0).random(shape, dtype=np.float32)
    value = encoder.prepare(array, "s")
    assert value.shape == (2, 3, 6, 7)
    first = array[1].transpose(2, 0, 1) if shape[-1] == 3 else array[1]
    np.testing.assert_allclose(value[0], np.broadcast_to((first - 0.5) / 0.25, (3, 6, 7)), rtol=1e-5)


def test_a_tower_sees_every_frame_by_itself(tmp_path: Path) -> None:
    encoder = build(tower=VIT, frames=4, missing="zero")
    assert (encoder.width, encoder.tokens) == (16, 4)
    array = np.random.default_rng(0).random((4, 8, 8, 3), dtype=np.float32)
    out = side(encoder, array, array[:2], None)
    assert out.tensor.shape == (3, 4, 16)
    assert out.mask.sum(1).tolist() == [4, 2, 0]
    torch.testing.assert_close(out.tensor[1, :2], side(encoder, array[:2]).tensor[0])
    pixels = encoder.collate([encoder.prepare(array, "s")], ["s"])["pixel_values"][0]
    assert encoder.tower is not None
    expected = encoder.tower({"pixel_values": pixels})[0].mean(1)
    torch.testing.assert_close(out.tensor[0], expected)
    assert build(tower=VIT, pool="attention").tokens == 1


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("suffix", ["mp4", "avi"])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = write(tmp_path / f"cut.{suffix}")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=rf"sample 7  clip: .*cut\.{suffix} is not a readable video"):
        read(path)


def test_a_file_that_tells_only_its_length_is_refused_too(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.mkv", 250)
    assert len(read(path)) == 8
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"it is cut off after \d\.\d of 10\.0 seconds"):
        read(path)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty").mkdir()
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    for value, message in (
        (tmp_path / "text.mp4", "is not a readable video"),
        (tmp_path / "nowhere.mp4", "does not exist"),
        (tmp_path / "empty", "has no images"),
        (tmp_path / "sound.mp4", "it has no picture"),
        (np.zeros((2, 2)), r"clip has shape \(2, 2\); expected"),
        (np.zeros((0, 4, 4, 3)), r"clip has shape \(0, 4, 4, 3\)"),
        ([[[1], [2, 3]]], "clip has shape"),
    ):
        with pytest.raises(DataError, match=f"sample 7  .*{message}"):
            read(value)


def test_without_pyav_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", 2)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnavailableError, match=r'pip install "adaptkit\[video\]"'):
        read(path)
