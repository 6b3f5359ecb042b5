"""Images: reading, resizing, normalising, and the tokens made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from adaptkit.errors import DataError, RecipeError
from adaptkit.modalities import BackboneContext, Encoder
from adaptkit.modalities.image.table import ImageModality
from adaptkit.modalities.pixels import read_image

TEXT_ONLY = BackboneContext(width=8)
VISION = BackboneContext(width=8, image_size=(4, 4), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def build(context: BackboneContext = TEXT_ONLY, **keys: Any) -> Encoder:
    return Encoder.build(ImageModality(**{"kind": "image", "route": "side", **keys}), "poster", context)


def side(encoder: Encoder, *values: Any) -> Any:
    return encoder(encoder.collate([encoder.prepare(v, "s") for v in values], ["s"] * len(values)))


GREY = np.arange(16, dtype=np.float32).reshape(4, 4) / 16
COLOUR = np.arange(48, dtype=np.float32).reshape(3, 4, 4) / 48


def test_pixels_are_one_token() -> None:
    encoder = build(size=4, channels=1)
    out = side(encoder, GREY)
    assert (encoder.width, encoder.tokens) == (16, 1)
    assert torch.equal(out.tensor, torch.from_numpy(GREY).reshape(1, 1, 16))
    assert out.mask.tolist() == [[True]]


def test_rows_are_one_token_each() -> None:
    encoder = build(size=4, channels=3, encoder="rows")
    out = side(encoder, COLOUR)
    assert (encoder.width, encoder.tokens) == (12, 4)
    assert torch.equal(out.tensor[0, 2], torch.from_numpy(COLOUR[:, 2].ravel()))


def test_patches_are_squares_in_reading_order() -> None:
    encoder = build(size=[4, 8], channels=3, encoder="patches", patch=2)
    image = np.random.default_rng(0).random((3, 4, 8), dtype=np.float32)
    out = side(encoder, image)
    assert (encoder.width, encoder.tokens) == (12, 8)
    assert torch.equal(out.tensor[0, 5], torch.from_numpy(image[:, 2:4, 2:4].ravel()))
    # The same as a convolution's unfold, which patch embeddings are made of.
    unfolded = torch.nn.functional.unfold(torch.from_numpy(image)[None], 2, stride=2).transpose(1, 2)
    assert torch.equal(out.tensor, unfolded)


def test_absent_images_have_no_token() -> None:
    encoder = build(size=4, channels=1, missing="zero", encoder="rows")
    out = side(encoder, GREY, None)
    assert out.mask.sum(1).tolist() == [4, 0]
    assert not out.tensor[1].any()


def test_normalisation_is_the_recipes_on_a_side_and_the_backbones_on_its_own_input() -> None:
    ours = build(size=4, channels=3, mean=[0.1, 0.2, 0.3], std=0.5)
    expected = (COLOUR - np.array([0.1, 0.2, 0.3], dtype=np.float32)[:, None, None]) / 0.5
    np.testing.assert_allclose(ours.prepare(COLOUR, "s"), expected, rtol=1e-6)
    assert np.array_equal(build(size=4, channels=3).prepare(COLOUR, "s"), COLOUR)
    native = build(VISION, route="backbone")
    np.testing.assert_allclose(native.prepare(COLOUR, "s"), (COLOUR - 0.5) / 0.25, rtol=1e-6)
    assert native.collate([native.prepare(COLOUR, "s")], ["s"])["pixel_values"].shape == (1, 3, 4, 4)
    assert native.width == 0


def test_files_and_integers_count_as_0_to_255(tmp_path: Path) -> None:
    bytes_ = (GREY * 255).round().astype(np.uint8)
    Image.fromarray(bytes_).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([bytes_] * 3, axis=2)).save(tmp_path / "colour.png")
    expected = bytes_.astype(np.float32) / 255
    for value in (bytes_, bytes_.tolist(), tmp_path / "grey.png", str(tmp_path / "grey.png")):
        np.testing.assert_allclose(read_image(value, 1, None, name="p", where="s")[0], expected, rtol=1e-6)
    colour = read_image(tmp_path / "colour.png", 3, None, name="p", where="s")
    np.testing.assert_allclose(colour, np.stack([expected] * 3), rtol=1e-6)
    grey = read_image(tmp_path / "colour.png", 1, None, name="p", where="s")
    np.testing.assert_allclose(grey[0], expected, rtol=1e-5)  # the weights of the colours sum to 1


def test_channels_may_come_first_or_last_and_grey_is_repeated() -> None:
    last = read_image(COLOUR.transpose(1, 2, 0), 3, None, name="p", where="s")
    assert np.array_equal(last, COLOUR)
    assert np.array_equal(read_image(GREY, 3, None, name="p", where="s"), np.stack([GREY] * 3))


def test_resizing_keeps_a_constant_image_and_the_mean() -> None:
    constant = read_image(np.full((10, 6), 0.25), 1, (4, 8), name="p", where="s")
    assert constant.shape == (1, 4, 8)
    np.testing.assert_allclose(constant, 0.25, rtol=1e-6)
    noise = np.random.default_rng(0).random((32, 32))
    assert read_image(noise, 1, (8, 8), name="p", where="s").mean() == pytest.approx(noise.mean(), abs=0.01)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((2, 4, 4, 4)), r"poster has shape \(2, 4, 4, 4\); expected"),
        (np.zeros((0, 4)), r"poster has shape \(0, 4\)"),
        (GREY * 255, "poster has values outside 0 to 1, as floats"),
        (GREY - 1, "poster has values outside"),
        (np.full((4, 4), np.nan), "poster has values outside"),
        (np.full((4, 4), 300), "poster has values outside 0 to 255, as integers"),
        ([["a"]], "poster is not an array of numbers"),
        (None, "poster is absent"),
    ],
)
def test_what_is_no_image_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"sample 7  {message}"):
        build(size=4, channels=1).prepare(value, "sample 7")


def test_files_that_are_no_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    Image.fromarray(np.zeros((64, 64), dtype=np.uint8)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    for name in ("text.jpg", "cut.png", "nowhere.png"):
        with pytest.raises(DataError, match=f"sample 7  poster: .*{name}"):
            build(size=4, channels=1).prepare(tmp_path / name, "sample 7")


def test_a_jpeg_that_ends_early_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:1500])
    with pytest.raises(DataError, match=r"sample 7  poster: .*cut\.jpg is not a readable image: .*truncated"):
        build(size=4).prepare(tmp_path / "cut.jpg", "sample 7")


@pytest.mark.parametrize("limit", [500, 900])
def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Pillow only warns up to twice its limit; here both are errors, before any pixel is decoded."""
    Image.new("L", (40, 40)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match=rf"bomb\.png is too large for an image: .* Images may have {limit} pixels"):
        build(size=4).prepare(tmp_path / "bomb.png", "sample 7")


def test_images_come_in_the_forms_of_other_libraries_too(tmp_path: Path) -> None:
    bytes_ = (GREY * 255).round().astype(np.uint8)
    image = Image.fromarray(bytes_)
    image.save(tmp_path / "grey.png")
    expected = read_image(tmp_path / "grey.png", 1, None, name="p", where="s")
    raw = (tmp_path / "grey.png").read_bytes()
    forms = (image, raw, {"bytes": raw, "path": None}, {"bytes": None, "path": str(tmp_path / "grey.png")})
    for value in forms:
        assert np.array_equal(read_image(value, 1, None, name="p", where="s"), expected)
    with pytest.raises(DataError, match="s  p: the image is not a readable image"):
        read_image({"bytes": b"no image"}, 1, None, name="p", where="s")


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path: Path) -> None:
    deep = np.array([[0, 65535], [32768, 1000]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    found = read_image(tmp_path / "deep.png", 1, None, name="p", where="s")
    np.testing.assert_allclose(found[0], deep / 65535, rtol=1e-6)


RESNET = {"model": "resnet", "config": {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}}
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


def test_a_tower_brings_its_own_size_and_normalisation() -> None:
    encoder = build(VISION, tower=VIT, missing="zero")
    assert (encoder.width, encoder.tokens, encoder.limit) == (16, 5, None)  # 4 patches and [CLS]
    value = encoder.prepare(np.full((3, 20, 20), 0.75, dtype=np.float32), "s")
    assert value.shape == (3, 8, 8)
    np.testing.assert_allclose(value, 0.5, rtol=1e-6)  # ViT was trained with mean and std 0.5
    out = side(encoder, COLOUR, None)
    assert out.tensor.shape == (2, 5, 16)
    assert out.mask.tolist() == [[True] * 5, [False] * 5]
    assert out.tensor.isfinite().all()
    assert build(VISION, tower=VIT, pool="first").tokens == 1
    with pytest.raises(RecipeError, match=r"poster\.size  the tower reads images of \(8, 8\), not \(4, 4\)"):
        build(VISION, tower=VIT, size=4)


def test_a_convolutional_tower_gives_one_token_per_cell() -> None:
    encoder = build(tower=RESNET, pool="mean")
    out = side(encoder, COLOUR)
    assert out.tensor.shape == (1, 1, 8)
    vectors, mask = encoder.vectors(encoder.collate([encoder.prepare(COLOUR, "s")], ["s"]))
    assert vectors.shape[2] == 8
    assert mask.all()
    torch.testing.assert_close(out.tensor[:, 0], vectors.mean(1))


def test_recipes_that_cannot_work_are_refused() -> None:
    for keys, message in (
        ({}, "modality.poster.size  size is needed"),
        ({"size": 5, "encoder": "patches", "patch": 2}, "an image of 5 x 5 cannot be cut into patches of 2"),
        ({"route": "backbone"}, "this backbone reads no images"),
        ({"size": 4, "channels": 1, "mean": [0.1, 0.2, 0.3]}, "3 numbers for 1 channels"),
    ):
        with pytest.raises(RecipeError, match=message):
            build(**keys)
    with pytest.raises(RecipeError, match=r"reads images of \(4, 4\), not \(8, 8\)"):
        build(VISION, route="backbone", size=8)
    with pytest.raises(RecipeError, match="reads images of 3 channels, not 1"):
        build(VISION, route="backbone", channels=1)
