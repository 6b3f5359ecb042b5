"""Inputs without data."""

from __future__ import annotations

import pytest
import torch

from adaptkit.anatomy import dummy_inputs, runnable_on_meta
from tests.unit.anatomy.tiny_families import FAMILIES, build


def test_every_family_runs_on_meta_inputs() -> None:
    for name in FAMILIES:
        model = build(name, "meta")
        with runnable_on_meta(model), torch.no_grad():
            model(**dummy_inputs(model, batch=3, tokens=7))


def test_dummy_inputs_have_the_asked_shapes() -> None:
    text = dummy_inputs(build("bart", "meta"), batch=3, tokens=7)
    assert {key: tuple(value.shape) for key, value in text.items()} == {
        "input_ids": (3, 7),
        "decoder_input_ids": (3, 7),
    }
    both = dummy_inputs(build("clip", "meta"), batch=3, tokens=7, device="cpu")
    assert both["pixel_values"].shape == (3, 3, 16, 16)
    assert both["attention_mask"].all()
    assert dummy_inputs(build("timm-vit", "meta"))["x"].shape == (2, 3, 32, 32)


def test_models_that_read_neither_text_nor_images() -> None:
    from transformers import AutoConfig, AutoModel

    with torch.device("meta"):
        sound = AutoModel.from_config(AutoConfig.for_model("wav2vec2", num_hidden_layers=1))
    with pytest.raises(ValueError, match="neither text nor images"):
        dummy_inputs(sound)
