"""Tiny models of speech and sound: waveforms, spectrograms, transcription."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.laws.families import SMALL, Family, transformers_model

FRAMES = 8
BANDS = 8
WAVE: dict[str, Any] = SMALL | {  # 160 samples become 8 frames
    "conv_dim": [8, 8],
    "conv_kernel": [10, 4],
    "conv_stride": [5, 4],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
SPEECH_TO_TEXT: dict[str, Any] = {
    "vocab_size": 64,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_target_positions": 32,
    "decoder_start_token_id": 2,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}


def waveform() -> dict[str, Tensor]:
    """The second sample is shorter."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(3, 170, dtype=torch.long)
    mask[1, 100:] = 0
    return {"input_values": torch.randn(3, 170, generator=generator) * mask, "attention_mask": mask}


def spectrogram() -> dict[str, Tensor]:
    return {"input_values": torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(1))}


def features() -> dict[str, Tensor]:
    """(B, T, bands); the second sample is shorter."""
    mask = torch.ones(3, FRAMES, dtype=torch.long)
    mask[1, 5:] = 0
    frames = torch.randn(3, FRAMES, 2 * BANDS, generator=torch.Generator().manual_seed(1))
    return {"input_features": frames * mask[..., None], "attention_mask": mask}


def whisper() -> dict[str, Tensor]:
    """(B, bands, frames): twice as many frames as the encoder has tokens."""
    frames = torch.randn(3, BANDS, 2 * FRAMES, generator=torch.Generator().manual_seed(1))
    return {"input_features": frames, "decoder_input_ids": torch.arange(12).reshape(3, 4) + 5}


def speech_to_text() -> dict[str, Tensor]:
    """(B, frames, bands): four times as many frames as the encoder has tokens."""
    mask = torch.ones(3, 4 * FRAMES, dtype=torch.long)
    mask[1, 20:] = 0
    frames = torch.randn(3, 4 * FRAMES, BANDS, generator=torch.Generator().manual_seed(1))
    ids = torch.arange(12).reshape(3, 4) + 5
    return {"input_features": frames * mask[..., None], "attention_mask": mask, "decoder_input_ids": ids}


WAVEFORMS: dict[str, dict[str, Any]] = {
    "data2vec-audio": WAVE | {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 3},
    "hubert": WAVE,
    "sew": WAVE | {"squeeze_factor": 2},
    "sew-d": WAVE | {"squeeze_factor": 2, "position_buckets": 4, "max_position_embeddings": 32},
    "unispeech": WAVE,
    "unispeech-sat": WAVE,
    "wav2vec2": WAVE,
    "wav2vec2-conformer": WAVE | {"conv_depthwise_kernel_size": 3},
    "wavlm": WAVE | {"num_buckets": 8, "max_bucket_distance": 16},
}
AST = "audio-spectrogram-transformer"
SOUND = SMALL | {"patch_size": 8, "frequency_stride": 8, "time_stride": 8, "max_length": 16, "num_mel_bins": 16}
W2V_BERT = SMALL | {"feature_projection_input_dim": 2 * BANDS, "conv_depthwise_kernel_size": 3}
WHISPER = SPEECH_TO_TEXT | {"num_mel_bins": BANDS, "max_source_positions": FRAMES}
S2T = SPEECH_TO_TEXT | {"input_feat_per_channel": BANDS, "conv_channels": 16, "max_source_positions": 32}

FAMILIES = (
    *(Family(name, transformers_model(name, **given), waveform, {"": FRAMES}) for name, given in WAVEFORMS.items()),
    Family(AST, transformers_model(AST, **SOUND), spectrogram, {"": 6}),
    Family("wav2vec2-bert", transformers_model("wav2vec2-bert", **W2V_BERT), features, {"": FRAMES}),
    Family("whisper", transformers_model("whisper", **WHISPER), whisper, {"encoder": FRAMES, "decoder": 4}),
    Family("speech_to_text", transformers_model("speech_to_text", **S2T), speech_to_text, {"encoder": 8, "decoder": 4}),
)
