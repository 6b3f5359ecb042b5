"""Tiny models of images and videos: transformers on patches, hierarchies of stages, convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.laws.families import SMALL, Family, calibrated, image, transformers_model

PATCHES: dict[str, Any] = SMALL | {"image_size": 16, "patch_size": 8}  # four patches
FOUR = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]}  # stages
PYRAMID = FOUR | {
    "image_size": 32,
    "num_attention_heads": [1, 2, 2, 4],
    "mlp_ratios": [2, 2, 2, 2],
    "strides": [4, 2, 2, 1],
}
SWIN = {"image_size": 32, "embed_dim": 8, "depths": [2, 1, 1], "num_heads": [1, 2, 4], "window_size": 2}
FRAMES = 4


def image32() -> dict[str, Tensor]:
    return image(32)


def image96() -> dict[str, Tensor]:
    return image(96)


def masked_image() -> dict[str, Tensor]:
    """With the noise that orders the patches, which would be drawn anew in each forward."""
    return {**image(), "noise": torch.arange(12.0).reshape(3, 4)}


def video() -> dict[str, Tensor]:
    """(B, F, C, H, W)"""
    generator = torch.Generator().manual_seed(1)
    return {"pixel_values": torch.randn(2, FRAMES, 3, 16, 16, generator=generator)}


# Model type -> settings and number of tokens.
TOKENS_OF_PATCHES: dict[str, tuple[dict[str, Any], int]] = {
    "beit": (PATCHES | {"use_relative_position_bias": True, "layer_scale_init_value": 0.1}, 5),
    "data2vec-vision": (PATCHES | {"layer_scale_init_value": 0.1}, 5),
    "deit": (PATCHES, 6),
    "dinov2": (PATCHES, 5),
    "dinov2_with_registers": (PATCHES | {"num_register_tokens": 2}, 7),
    "dinov3_vit": (PATCHES | {"num_register_tokens": 2, "use_gated_mlp": True}, 7),
    "dpt": (PATCHES | {"backbone_out_indices": [0, 1], "neck_hidden_sizes": [8, 8], "reassemble_factors": [1, 1]}, 5),
    "ijepa": (PATCHES, 4),
    "siglip_vision_model": (PATCHES, 4),
    "vit_msn": (PATCHES, 5),
    "vitdet": (PATCHES, 4),
    "yolos": (PATCHES | {"image_size": [16, 16], "num_detection_tokens": 3}, 8),
}
VIDEOS: dict[str, tuple[dict[str, Any], int]] = {
    "timesformer": (PATCHES | {"num_frames": FRAMES}, 1 + 4 * FRAMES),
    "videomae": (PATCHES | {"num_frames": FRAMES}, 4 * FRAMES // 2),
    "vivit": (PATCHES | {"num_frames": FRAMES, "tubelet_size": [2, 8, 8]}, 1 + 4 * FRAMES // 2),
}
STAGES: dict[str, dict[str, Any]] = {
    "convnext": FOUR | {"layer_scale_init_value": 0.1},
    "convnextv2": FOUR,
    "cvt": {"embed_dim": [8, 16, 32], "num_heads": [1, 2, 4], "depth": [1, 2, 3], "patch_stride": [4, 2, 1]},
    "focalnet": {"image_size": 32, "embed_dim": 8, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]},
    "hiera": {"image_size": [32, 32], "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4],
        "masked_unit_size": [8, 8], "num_query_pool": 2},
    "poolformer": FOUR | {"layer_scale_init_value": 0.1, "strides": [4, 2, 2, 1]},
    "pvt": PYRAMID | {"sequence_reduction_ratios": [4, 2, 1, 1]},
    "pvt_v2": PYRAMID | {"sr_ratios": [4, 2, 1, 1]},
    "segformer": PYRAMID | {"sr_ratios": [4, 2, 1, 1]},
    "swiftformer": {"image_size": 32, "depths": [1, 1, 1, 1], "embed_dims": [8, 16, 24, 32]},
    "swin": SWIN,
    "swinv2": SWIN,
}  # fmt: skip
CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "bit": FOUR | {"embedding_size": 8, "num_groups": 2},
    "efficientnet": {"width_coefficient": 0.25, "depth_coefficient": 1.0, "hidden_dim": 320,
        "in_channels": [32, 32, 64], "out_channels": [32, 64, 96], "kernel_sizes": [3, 3, 5], "strides": [1, 2, 2],
        "num_block_repeats": [1, 2, 1], "expand_ratios": [1, 4, 4], "initializer_range": 0.2},
    "mobilenet_v1": {"image_size": 32, "depth_multiplier": 0.25},
    "mobilenet_v2": {"image_size": 32, "depth_multiplier": 0.25},
    "regnet": FOUR | {"embedding_size": 8, "groups_width": 4},
    "resnet": FOUR | {"embedding_size": 8},
}  # fmt: skip
LEVIT: dict[str, Any] = {"image_size": 96, "hidden_sizes": [16, 24, 32], "num_attention_heads": [2, 3, 4],
    "depths": [1, 1, 1], "key_dim": [8, 8, 8]}  # fmt: skip
MOBILEVIT: dict[str, dict[str, Any]] = {  # at output stride 8 the last maps have four patches
    "mobilevit": {"image_size": 32, "hidden_sizes": [8, 12, 16], "neck_hidden_sizes": [4, 8, 8, 8, 12, 16, 16],
        "output_stride": 8},
    "mobilevitv2": {"image_size": 32, "width_multiplier": 0.25, "output_stride": 8},
}  # fmt: skip


def maps(
    name: str, given: dict[str, Any], inputs: Callable[[], dict[str, Tensor]], convolutional: bool = False
) -> Family:
    """A hierarchy: the number of tokens differs from stage to stage."""
    return Family(name, calibrated(transformers_model(name, **given), inputs), inputs, {}, convolutional)


FAMILIES = (
    *(
        Family(name, transformers_model(name, **given), image, {"": n})
        for name, (given, n) in TOKENS_OF_PATCHES.items()
    ),
    Family("vit_mae", transformers_model("vit_mae", **PATCHES, mask_ratio=0.0), masked_image, {"": 5}),
    *(Family(name, transformers_model(name, **given), video, {"": n}) for name, (given, n) in VIDEOS.items()),
    *(maps(name, given, image32) for name, given in STAGES.items()),
    *(maps(name, given, image32) for name, given in MOBILEVIT.items()),
    maps("levit", LEVIT, image96),
    *(maps(name, given, image32, convolutional=True) for name, given in CONVOLUTIONS.items()),
)
