"""Forwards without values, and what they find in models that read sound, film, or text with images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from adaptkit.anatomy import Anatomy, study
from adaptkit.anatomy.trace.fake_floats import FakeFloatMode

TEXT = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 16,
    "patch_size": 8,
}
SOUND = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "conv_dim": (8, 8),
    "conv_stride": (5, 2),
    "conv_kernel": (10, 3),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "num_feat_extract_layers": 2,
}
WHISPER = {
    "vocab_size": 64,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "num_mel_bins": 8,
    "max_source_positions": 20,
    "pad_token_id": 0,
    "decoder_start_token_id": 1,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def anatomy_of(model_type: str, **settings: Any) -> Anatomy:
    with torch.device("meta"):
        return study(AutoModel.from_config(AutoConfig.for_model(model_type, **settings)))


def test_whole_numbers_stay_real_and_meet_shapes() -> None:
    ids, h = torch.tensor([[0, 3, 3], [0, 0, 3]]), torch.empty(2, 3, device="meta")
    with FakeFloatMode():
        mask = ids == 3
        assert int(mask.sum()) == 3
        assert h[mask].shape == (3,)
        assert (h + ids).is_meta
        assert nn.functional.embedding(ids, torch.empty(4, 8, device="meta")).shape == (2, 3, 8)
        assert torch.repeat_interleave(h, torch.tensor([1, 2, 3]), dim=1).shape == (2, 6)


def test_questions_about_values_nobody_knows() -> None:
    h = torch.empty(2, 3, device="meta")
    with FakeFloatMode():
        assert h.sum().item() == 1.0
        assert h.long().max().item() == 1
        assert not (h > 0).all()
        assert h.cpu().tolist() == [[1.0] * 3] * 2
        assert torch.where(h > 0)[0].shape == (1,)
        assert h[h > 0].shape == (1,)
        assert torch.masked_select(h, torch.tensor([True, False, True])).shape == (2,)
        kept = torch.zeros(2, 3)
        kept[0] = h[0]
    assert kept.eq(0).all()


def test_torchs_encoder_goes_layer_by_layer() -> None:
    """Where inputs are masked it otherwise packs them, which no meta tensor can be."""
    encoder = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), 2).eval()
    padding = torch.zeros(2, 3, dtype=torch.bool, device="meta")
    with FakeFloatMode(), torch.no_grad():
        assert encoder.to("meta")(torch.empty(2, 3, 8, device="meta"), src_key_padding_mask=padding).shape == (2, 3, 8)


@pytest.mark.parametrize(
    ("model_type", "settings", "stacks"),
    [
        ("wav2vec2", SOUND, {"": 2}),
        ("whisper", WHISPER, {"encoder": 2, "decoder": 3}),
        ("videomae", VISION | {"num_frames": 4, "num_hidden_layers": 3}, {"": 3}),
        (
            "llava",
            {
                "text_config": {"model_type": "llama", **TEXT},
                "vision_config": {"model_type": "clip_vision_model", **VISION},
                "image_token_id": 5,
            },
            {"vision": 3, "language": 2},
        ),
    ],
)
def test_every_stack_is_found_by_a_forward(model_type: str, settings: dict[str, Any], stacks: dict[str, int]) -> None:
    anatomy = anatomy_of(model_type, **settings)
    assert {stack.name: stack.depth for stack in anatomy.stacks} == stacks
    assert not any("module tree" in note for note in anatomy.notes)
    for stack in anatomy.stacks:
        names = {site.name for site in anatomy.sites if site.stack == stack.name and site.layer == 1}
        assert {"attn.stream", "attn.q", "attn.v", "attn.out", "mlp.up", "mlp.out", "mlp.sum", "block.out"} <= names


class Refuser(nn.Module):
    """Wants what nobody guesses; its blocks run alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2))

    def forward(self, secret: object) -> torch.Tensor:
        raise TypeError("no")


def test_blocks_run_where_the_model_does_not() -> None:
    anatomy = study(Refuser())
    assert not any("module tree" in note for note in anatomy.notes)
    sums = [(site.name, site.path) for site in anatomy.sites if site.name == "mlp.sum"]
    assert sums == [("mlp.sum", "layers.0.norm2"), ("mlp.sum", "layers.1.norm2")]
