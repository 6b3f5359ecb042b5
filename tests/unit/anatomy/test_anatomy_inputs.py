"""What each family reads."""

from __future__ import annotations

import pytest
import torch

from adaptkit.anatomy import dummy_inputs, input_spec, resolve, skeleton
from tests.unit.anatomy.tiny_families import build


@pytest.mark.parametrize(
    ("name", "form", "kinds", "causal", "max_tokens", "image_size"),
    [
        ("bert-base", "text", ("text",), False, 512, None),
        ("roberta-base", "text", ("text",), False, 512, None),
        ("distilbert", "text", ("text",), False, 512, None),
        ("gpt2", "text", ("text",), True, 1024, None),
        ("tinyllama", "text", ("text",), True, 2048, None),
        ("bart-base", "encoder_decoder", ("text",), False, 1024, None),
        ("t5-small", "encoder_decoder", ("text",), False, None, None),
        ("vit-base", "image", ("image",), False, None, (224, 224)),
        ("clip-vit-base-patch32", "two_towers", ("text", "image"), False, 77, (224, 224)),
        ("timm/vit_tiny_patch16_224", "timm", ("image",), False, None, (224, 224)),
    ],
)
def test_input_spec(
    name: str,
    form: str,
    kinds: tuple[str, ...],
    causal: bool,
    max_tokens: int | None,
    image_size: tuple[int, int] | None,
) -> None:
    ref = resolve(name)
    spec = input_spec(skeleton(ref), ref)
    assert (spec.form, spec.kinds, spec.causal) == (form, kinds, causal)
    assert (spec.max_tokens, spec.image_size) == (max_tokens, image_size)


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
