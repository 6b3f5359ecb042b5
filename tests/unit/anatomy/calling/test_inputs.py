"""What each family reads."""

from __future__ import annotations

import pytest

from adaptkit.anatomy import input_spec, resolve, skeleton


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
