"""Tiny models of text with images, boxes, sound or video: two towers, one stack for both, language models that see."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.laws.families import SMALL, TOKENS, WORDS, Family, calibrated, clip, image, text, transformers_model

IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
IMAGE_TOKEN = 60
READ: dict[str, Any] = SMALL | WORDS | IDS | {"projection_dim": 16}
SEE: dict[str, Any] = SMALL | {"projection_dim": 16, "image_size": 16, "patch_size": 8}  # four patches
HEAR: dict[str, Any] = {"spec_size": 32, "num_mel_bins": 16, "patch_embeds_hidden_size": 8, "hidden_size": 32,
    "depths": [1, 1, 1], "num_hidden_layers": 3, "num_attention_heads": [1, 2, 4], "window_size": 2}  # fmt: skip
LLAMA: dict[str, Any] = READ | {"model_type": "llama", "num_key_value_heads": 2}
OPT: dict[str, Any] = READ | {"model_type": "opt", "ffn_dim": 48, "word_embed_proj_dim": 32}
QFORMER: dict[str, Any] = SMALL | {"encoder_hidden_size": 32, "vocab_size": 64, "cross_attention_frequency": 1}
BOXED: dict[str, Any] = READ | {"max_2d_position_embeddings": 64}


def caption(images: int = 4) -> dict[str, Tensor]:
    """Text with the places of the image's patches, and the image."""
    ids = torch.arange(18).reshape(3, 6) + 5
    places = torch.full((3, images), IMAGE_TOKEN)
    mask = torch.ones(3, images + 6, dtype=torch.long)
    mask[1, -2:] = 0
    return {"input_ids": torch.cat((ids[:, :2], places, ids[:, 2:]), 1), "attention_mask": mask, **image()}


def queried() -> dict[str, Tensor]:
    """Two learned queries stand for the image."""
    return caption(2)


def instructed() -> dict[str, Tensor]:
    return {**queried(), "qformer_input_ids": text()["input_ids"], "qformer_attention_mask": text()["attention_mask"]}


def typed_caption() -> dict[str, Tensor]:
    """Where token types tell what the loss counts."""
    given = caption()
    return {**given, "token_type_ids": (given["input_ids"] != IMAGE_TOKEN).long()}


def patched_caption() -> dict[str, Tensor]:
    """One image of 4 x 4 patches for each of two samples, as rows; four patches become one token."""
    pixels = torch.randn(32, 3 * 2 * 8 * 8, generator=torch.Generator().manual_seed(1))
    given = caption()
    ids, mask = given["input_ids"][:2], given["attention_mask"][:2]
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "pixel_values": pixels,
        "image_grid_thw": torch.tensor([[1, 4, 4], [1, 4, 4]]),
        "mm_token_type_ids": (ids == IMAGE_TOKEN).int(),
    }


def flat_patches() -> dict[str, Tensor]:
    """(B, patches, pixels of a patch)"""
    pixels = torch.randn(3, 4, 3 * 8 * 8, generator=torch.Generator().manual_seed(1))
    shapes = torch.tensor([[2, 2]] * 3)
    return {**text(), "pixel_values": pixels, "pixel_attention_mask": torch.ones(3, 4).long(), "spatial_shapes": shapes}


def tiles() -> dict[str, Tensor]:
    """(B, images, C, H, W)"""
    given = caption(1)
    return {**given, "pixel_values": given["pixel_values"][:, None]}


def document() -> dict[str, Tensor]:
    """Text, and the box of each token."""
    corners = torch.arange(3 * TOKENS * 2).reshape(3, TOKENS, 2) % 30
    return {**text(), "bbox": torch.cat((corners, corners + 5), -1)}


def page() -> dict[str, Tensor]:
    return {**document(), **image()}


def polygons() -> dict[str, Tensor]:
    """Text, and eight numbers of 0..1 for each token."""
    return {**text(), "bbox": torch.rand(3, TOKENS, 8, generator=torch.Generator().manual_seed(1))}


def regions() -> dict[str, Tensor]:
    """Text, and features of four regions."""
    generator = torch.Generator().manual_seed(1)
    return {
        **text(),
        "visual_feats": torch.randn(3, 4, 16, generator=generator),
        "visual_pos": torch.rand(3, 4, 4, generator=generator),
    }


def embedded() -> dict[str, Tensor]:
    return {**text(), "visual_embeds": torch.randn(3, 4, 16, generator=torch.Generator().manual_seed(1))}


def clips() -> dict[str, Tensor]:
    """Text, and four frames."""
    generator = torch.Generator().manual_seed(1)
    return {**text(), "pixel_values": torch.randn(3, 4, 3, 16, 16, generator=generator)}


def sound() -> dict[str, Tensor]:
    """Text, and (B, 1, frames, bands)."""
    generator = torch.Generator().manual_seed(1)
    return {**text(), "input_features": torch.randn(3, 1, 64, 16, generator=generator), "is_longer": torch.zeros(3, 1)}


def towers(read: dict[str, Any] = READ, see: dict[str, Any] = SEE, **more: Any) -> dict[str, Any]:
    return {"text_config": read, "vision_config": see, **more}


TWO = {"text": TOKENS, "vision": 5}
CONVOLUTIONS = {"image_size": 32, "width_coefficient": 0.25, "depth_coefficient": 1.0, "hidden_dim": 320,
    "in_channels": [32, 32, 64], "out_channels": [32, 64, 96], "kernel_sizes": [3, 3, 5], "strides": [1, 2, 2],
    "num_block_repeats": [1, 2, 1], "expand_ratios": [1, 4, 4], "initializer_range": 0.2}  # fmt: skip
GROUPS = SEE | {"depths": [1, 1, 1], "num_group_tokens": [4, 2, 0], "num_output_groups": [4, 2, 2], "patch_size": 4}

# Model type, settings, inputs, tokens per stack.
TABLE = (
    ("align", towers(see=CONVOLUTIONS, projection_dim=24), clip, {"text": TOKENS}),
    ("altclip", towers(READ | {"project_dim": 16}, projection_dim=16), clip, TWO),
    ("blip", towers(READ | {"encoder_hidden_size": 32}, projection_dim=16, image_text_hidden_size=16), clip, TWO),
    ("blip-2", towers(OPT, qformer_config=QFORMER, num_query_tokens=2, image_token_index=IMAGE_TOKEN), queried, {}),
    ("bros", READ | {"hidden_size": 64, "bbox_scale": 10.0}, polygons, {"": TOKENS}),
    ("chinese_clip", towers(projection_dim=16), clip, TWO),
    ("clap", {"text_config": READ, "audio_config": HEAR, "projection_dim": 16}, sound, {"text": TOKENS}),
    ("clipseg", towers(projection_dim=16, extract_layers=[0, 1], reduce_dim=16), clip, TWO),
    ("flava", {"text_config": READ, "image_config": SEE, "multimodal_config": SMALL, "projection_dim": 16,
        "hidden_size": 32}, clip, {}),
    ("git", READ | {"vision_config": SEE}, clip, {}),
    ("groupvit", towers(see=GROUPS, projection_dim=16, projection_intermediate_dim=16), clip, {"text": TOKENS}),
    ("idefics3", towers(LLAMA, SEE, image_token_id=IMAGE_TOKEN, scale_factor=2), tiles, {}),
    ("instructblip", towers(OPT, qformer_config=QFORMER, num_query_tokens=2, image_token_index=IMAGE_TOKEN),
        instructed, {}),
    ("internvl", towers(LLAMA, SEE | {"image_size": [16, 16], "patch_size": [4, 4]}, image_token_id=IMAGE_TOKEN,
        image_seq_length=4), caption, {}),
    ("layoutlmv3", BOXED | {"coordinate_size": 6, "shape_size": 4, "input_size": 16, "patch_size": 8}, page, {"": 11}),
    ("lilt", BOXED | {"hidden_size": 48, "channel_shrink_ratio": 2}, document, {"": TOKENS}),
    ("llava", towers(LLAMA, SEE | {"model_type": "clip_vision_model"}, image_token_index=IMAGE_TOKEN,
        image_seq_length=4, vision_feature_layer=-1), caption, {}),
    ("lxmert", READ | {"l_layers": 2, "x_layers": 2, "r_layers": 2, "visual_feat_dim": 16}, regions, {}),
    ("metaclip_2", towers(projection_dim=16), clip, TWO),
    ("owlvit", towers(projection_dim=16), clip, TWO),
    ("paligemma", towers(LLAMA | {"model_type": "gemma", "head_dim": 8}, SEE | {"model_type": "siglip_vision_model",
        "projection_dim": 32}, image_token_index=IMAGE_TOKEN, projection_dim=32), typed_caption, {}),
    ("qwen2_vl", towers(LLAMA | {"model_type": "qwen2_vl_text", "rope_parameters": {"rope_type": "default",
        "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}}, {"depth": 2, "embed_dim": 32, "hidden_size": 32,
        "num_heads": 4, "mlp_ratio": 2, "patch_size": 8}, image_token_id=IMAGE_TOKEN, video_token_id=61),
        patched_caption, {}),
    ("siglip", towers(), clip, {"text": TOKENS, "vision": 4}),
    ("siglip2", towers(see=SEE | {"num_patches": 4}), flat_patches, {"text": TOKENS, "vision": 4}),
    ("vilt", READ | {"image_size": 16, "patch_size": 8}, clip, {"": 11}),
    ("visual_bert", READ | {"visual_embedding_dim": 16}, embedded, {"": 10}),
    ("vision-text-dual-encoder", {"text_config": READ | {"model_type": "bert"}, "vision_config": SEE | {
        "model_type": "vit"}, "projection_dim": 16}, clip, TWO),
    ("xclip", towers(see=SEE | {"num_frames": 4, "mit_hidden_size": 32, "mit_intermediate_size": 48,
        "mit_num_attention_heads": 4}, projection_dim=32, prompt_num_attention_heads=4), clips, {}),
)  # fmt: skip

FAMILIES = tuple(
    Family(name, calibrated(transformers_model(name, **given), inputs), inputs, lengths)
    for name, given, inputs, lengths in TABLE
)
