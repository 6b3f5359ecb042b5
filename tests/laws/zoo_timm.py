"""One tiny model of every file of timm, one line per file."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from timm.models.byobnet import ByoBlockCfg, ByoModelCfg
from timm.models.metaformer import Attention, LayerNorm2dNoBias, LayerNormNoBias, SepConv
from timm.models.mvitv2 import MultiScaleVitCfg
from timm.models.selecsls import SelecSlsBlock
from timm.models.vitamin import VitCfg, VitConvCfg
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from tests.laws.families import Family, calibrated, image, shaken, timm_model

Row = tuple[str, int, dict[str, Any]]  # a model, or (in capitals) a class of the file; pixels; settings

D3, D4 = (1, 1, 1), (1, 1, 1, 1)  # blocks per stage
C4 = (8, 16, 24, 32)  # channels per stage
H4 = (1, 2, 2, 4)  # heads per stage
VIT: dict[str, Any] = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 4}
VIT64 = VIT | {"img_size": 64}
SWIN: dict[str, Any] = {"img_size": 64, "embed_dim": 8, "depths": (2, 1, 1, 1), "num_heads": H4, "window_size": 4}
EFFICIENT = {"width_list": [8, 8, 16, 24, 32], "depth_list": [0, 1, 1, 1, 1], "head_widths": (32, 32)}
BOTNET = ByoModelCfg(
    blocks=(
        ByoBlockCfg(type="bottle", d=1, c=32, s=1, br=0.25),
        ByoBlockCfg(type="self_attn", d=2, c=64, s=2, br=0.25),
    ),
    stem_chs=16,
    stem_type="tiered",
    stem_pool="maxpool",
    fixed_input_size=True,
    self_attn_layer="bottleneck",
    self_attn_kwargs={"dim_head": 8},
)
# Kernel, hidden channels, channels, squeeze and excitation, stride.
GHOST = [[[3, 16, 16, 0, 1]], [[3, 24, 24, 0, 2]], [[5, 36, 40, 0.25, 2]], [[5, 60, 40, 0.25, 1]]]
SELECSLS = {
    "block": SelecSlsBlock,
    "features": [(32, 0, 16, 16, True, 2), (16, 16, 16, 32, False, 1)],
    "head": [(32, 32, 3, 2)],
    "num_features": 32,
    "feature_info": [],
}
XCEPTION = [
    {"in_chs": 64, "out_chs": 32, "stride": 2},
    {"in_chs": 32, "out_chs": 32, "stride": 1},
    {"in_chs": 32, "out_chs": (32, 48, 48), "stride": 2},
    {"in_chs": 48, "out_chs": (64, 64, 64), "no_skip": True, "stride": 1},
]
VITAMIN = VitCfg((8, 16, 32), (1, 1, 1), 8, VitConvCfg(norm_layer="layernorm2d"), "1d")
METAFORMER: dict[str, Any] = {
    "dims": (32, 32, 32, 64),
    "depths": D4,
    "token_mixers": [SepConv, SepConv, Attention, Attention],
    "norm_layers": [LayerNorm2dNoBias, LayerNorm2dNoBias, LayerNormNoBias, LayerNormNoBias],
}

# The files vision_transformer and resnet are not repeated: they are in FAMILIES.
TRANSFORMERS: dict[str, Row] = {
    "beit": ("beit_base_patch16_224", 32, VIT | {"init_values": 0.1}),
    "cait": ("cait_xxs24_224", 32, VIT | {"init_values": 0.1}),
    "coat": ("coat_lite_tiny", 64, {"img_size": 64, "embed_dims": (16, 16, 32, 32), "serial_depths": D4}),
    "convit": ("convit_tiny", 32, VIT | {"embed_dim": 8, "local_up_to_layer": 1}),
    "cpubone": ("cpubone_nano", 64, EFFICIENT),
    "crossvit": ("crossvit_tiny_240", 48, {"img_size": 48, "img_scale": (1.0, 1.0), "embed_dim": (16, 32),
        "depth": ((1, 1, 1), (1, 1, 1)), "num_heads": (2, 4)}),
    "csatv2": ("csatv2", 128, {"dims": C4, "depths": D4, "transformer_depths": (0, 0, 1, 1)}),
    "davit": ("davit_tiny", 64, {"embed_dims": C4, "depths": D4, "num_heads": H4, "window_size": 2}),
    "deepseek_vit": ("deepseek_vit_412m", 126, VIT | {"img_size": 126}),
    "deit": ("deit_tiny_distilled_patch16_224", 32, VIT),
    "edgenext": ("edgenext_xx_small", 64, {"dims": C4, "depths": (1, 2, 2, 2), "heads": (2, 2, 2, 2)}),
    "efficientformer": ("efficientformer_l1", 224, {"embed_dims": C4, "depths": (1, 1, 1, 2)}),
    "efficientformer_v2": ("efficientformerv2_s0", 64, {"img_size": 64, "embed_dims": C4, "depths": (1, 1, 2, 2)}),
    "efficientvim": ("efficientvim_m1", 128, {"embed_dim": (16, 24, 32), "depths": D3}),
    "efficientvit_mit": ("efficientvit_b0", 64, {"widths": (8, 16, 24, 32, 48), "depths": (1, *D4), "head_dim": 8,
        "head_widths": (32, 32)}),
    "efficientvit_msra": ("efficientvit_m0", 128, {"img_size": 128, "embed_dim": (16, 24, 32), "depth": D3,
        "key_dim": (4, 4, 4), "num_heads": (2, 2, 2)}),
    "eva": ("eva02_tiny_patch14_224", 28, VIT | {"img_size": 28}),
    "fastvit": ("fastvit_sa12", 64, {"layers": D4, "embed_dims": (8, 16, 32, 64)}),
    "focalnet": ("FocalNet", 64, {"embed_dim": 8, "depths": D4}),
    "gcvit": ("GlobalContextVit", 64, {"img_size": 64, "embed_dim": 8, "depths": (2, 2, 2, 2), "num_heads": H4,
        "window_size": (4, 4, 4, 2)}),
    "gemma4_vit": ("gemma4_vit_167m", 48, VIT | {"img_size": 48, "head_dim": 8, "intermediate_size": 48,
        "position_embedding_size": 64}),
    "hiera": ("hiera_tiny_224", 64, {"img_size": (64, 64), "embed_dim": 8, "stages": D4}),
    "hieradet_sam2": ("sam2_hiera_tiny", 64, {"embed_dim": 8, "stages": (1, 1, 2, 1), "global_att_blocks": (3,),
        "window_spec": (4, 4, 4, 2)}),
    "iformer": ("iformer_t", 64, {"dims": C4, "depths": (1, 1, 3, 3), "attn_groups": (0, 0, 1, 1)}),
    "levit": ("levit_128s", 96, {"img_size": 96, "embed_dim": (16, 24, 32), "depth": D3, "num_heads": (2, 3, 4),
        "key_dim": 4}),
    "lowformer": ("lowformer_b0", 64, EFFICIENT),
    "mambaout": ("test_mambaout", 32, {"depths": D4, "dims": C4}),
    "maxxvit": ("test_coatnet", 64, {"img_size": 64}),
    "metaformer": ("MetaFormer", 64, METAFORMER),
    "mlp_mixer": ("MlpMixer", 32, {"img_size": 32, "embed_dim": 32, "num_blocks": 2}),
    "mobilenetv5": ("mobilenetv5_base", 64, {"channel_multiplier": 0.125}),
    "mobilevit": ("mobilevit_xxs", 64, {}),
    "mvitv2": ("MultiScaleVit", 64, {"cfg": MultiScaleVitCfg(D4, 8), "img_size": (64, 64)}),
    "naflexvit": ("naflexvit_base_patch16_gap", 32, {"embed_dim": 32, "depth": 2, "num_heads": 4}),
    "nest": ("Nest", 32, {"img_size": 32, "patch_size": 2, "embed_dims": (8, 16, 32), "num_heads": (1, 2, 4),
        "depths": D3}),
    "nextvit": ("nextvit_small", 64, {"stem_chs": (8, 8, 8), "depths": (1, 1, 5, 1)}),
    "pit": ("pit_ti_224", 64, {"img_size": 64, "base_dims": (8, 8, 8), "depth": D3, "heads": (1, 2, 4)}),
    "pvt_v2": ("pvt_v2_b0", 64, {"embed_dims": C4, "depths": D4, "num_heads": H4}),
    "qwen3_vit": ("qwen3_vit_88m", 32, VIT | {"pos_embed_grid_size": 4, "mlp_ratio": 2.0}),
    "sequencer": ("sequencer2d_s", 56, {"img_size": 56, "layers": D4, "embed_dims": (16, 16, 32, 32),
        "hidden_sizes": (4, 4, 8, 8)}),
    "shvit": ("shvit_s1", 64, {"embed_dim": (16, 24, 32), "partial_dim": (4, 8, 8), "qk_dim": (4, 4, 4), "depth": D3,
        "types": ("s", "s", "s")}),
    "swiftformer": ("swiftformer_xs", 64, {"layers": [1, 1, 1, 1], "embed_dims": list(C4)}),
    "swin_transformer": ("swin_tiny_patch4_window7_224", 64, SWIN),
    "swin_transformer_v2": ("swinv2_tiny_window8_256", 64, SWIN),
    "swin_transformer_v2_cr": ("swinv2_cr_tiny_224", 64, SWIN | {"window_size": 2}),
    "tiny_vit": ("tiny_vit_5m_224", 64, {"embed_dims": C4, "depths": (1, 2, 1, 1), "num_heads": H4,
        "window_sizes": (4, 4, 4, 2)}),
    "tnt": ("tnt_s_patch16_224", 32, {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads_outer": 4,
        "inner_dim": 16}),
    "twins": ("twins_svt_small", 64, {"img_size": 64, "embed_dims": C4, "depths": (2, 2, 2, 2), "num_heads": H4,
        "wss": (4, 4, 4, 2)}),
    "vision_transformer_hybrid": ("vit_tiny_r_s16_p8_224", 64, VIT64),
    "vision_transformer_relpos": ("test_vit_relpos", 32, VIT),
    "vision_transformer_sam": ("samvit_base_patch16_224", 64, VIT64 | {"window_size": 2, "global_attn_indexes": (1,),
        "neck_chans": 16}),
    "visformer": ("visformer_tiny", 64, {"img_size": 64, "init_channels": 8, "embed_dim": 32, "depth": D3,
        "num_heads": 4}),
    "vitamin": ("vitamin_small_224", 64, VIT64 | {"embed_cfg": VITAMIN}),
    "volo": ("VOLO", 64, {"img_size": 64, "layers": D4, "embed_dims": (16, 32, 32, 32), "num_heads": (2, 4, 4, 4)}),
    "xcit": ("xcit_nano_12_p16_224", 32, VIT),
}  # fmt: skip
CONVOLUTIONS: dict[str, Row] = {
    "byobnet": ("test_byobnet", 32, {}),
    "convmixer": ("ConvMixer", 32, {"dim": 32, "depth": 2, "kernel_size": 3}),
    "convnext": ("test_convnext", 32, {"depths": D4, "dims": C4}),
    "cspnet": ("cs3darknet_s", 64, {}),
    "cspnext": ("cspnext_tiny", 64, {"depths": D4, "channels": (32, 64, 96, 128)}),
    "densenet": ("densenet121", 32, {"growth_rate": 8, "block_config": (2, 2, 2, 2)}),
    "dla": ("dla46x_c", 32, {}),
    "dpn": ("dpn48b", 32, {"k_sec": D4, "k_r": 32, "inc_sec": (8, 8, 8, 8), "groups": 8}),
    "efficientnet": ("test_efficientnet", 32, {}),
    "fasternet": ("fasternet_t0", 32, {"embed_dim": 8, "depths": D4, "feature_dim": 32}),
    "ghostnet": ("GhostNet", 32, {"cfgs": GHOST}),
    "hardcorenas": ("hardcorenas_a", 32, {}),
    "hgnet": ("hgnetv2_b0", 32, {}),
    "hrnet": ("hrnet_w18_small", 32, {}),
    "inception_next": ("inception_next_atto", 32, {"dims": (16, 24, 32, 48), "depths": D4}),
    "inception_resnet_v2": ("inception_resnet_v2", 75, {}),
    "inception_v3": ("inception_v3", 75, {}),
    "inception_v4": ("inception_v4", 75, {}),
    "lcnetv2": ("lcnetv2_small", 32, {"scale": 0.25, "depths": D4, "head_hidden_size": 32}),
    "mobilenetv3": ("mobilenetv3_small_050", 32, {}),
    "nasnet": ("nasnetalarge", 64, {"stem_size": 8, "num_features": 96}),
    "nfnet": ("test_nfnet", 32, {}),
    "pnasnet": ("pnasnet5large", 64, {}),
    "rdnet": ("rdnet_tiny", 32, {"growth_rates": (8,) * 7, "num_blocks_list": (1,) * 7, "num_init_features": 16}),
    "regnet": ("regnetx_002", 32, {}),
    "repghost": ("RepGhostNet", 32, {"cfgs": GHOST}),
    "repvit": ("repvit_m0_9", 64, {"img_size": 64, "embed_dim": C4, "depth": D4}),
    "res2net": ("res2net50_14w_8s", 32, {"layers": D4, "channels": C4}),
    "resnest": ("resnest14d", 32, {"layers": D4, "channels": C4, "stem_width": 8}),
    "resnetv2": ("resnetv2_18", 32, {"layers": D4, "channels": C4, "stem_chs": 8}),
    "rexnet": ("rexnet_100", 32, {"width_mult": 0.25, "depth_mult": 0.25, "ch_div": 4}),
    "selecsls": ("SelecSls", 32, {"cfg": SELECSLS}),
    "senet": ("legacy_seresnet18", 32, {"layers": D4}),
    "sknet": ("skresnet18", 32, {"layers": D4, "channels": (16, 32, 48, 64)}),
    "starnet": ("starnet_s050", 32, {"base_dim": 8, "depths": [1, 1, 1, 1]}),
    "tresnet": ("tresnet_m", 32, {"layers": [1, 1, 1, 1], "width_factor": 0.25}),
    "vgg": ("VGG", 32, {"cfg": [8, "M", 16, "M", 24, "M", 32], "mlp_ratio": 0.01}),
    "vovnet": ("ese_vovnet19b_slim_dw", 32, {"stage_out_chs": [16, 24, 32, 48], "layer_per_block": 1}),
    "xception": ("legacy_xception", 64, {}),
    "xception_aligned": ("xception41p", 32, {"block_cfg": XCEPTION}),
}  # fmt: skip
# Files without any setting for widths, and what divides all of theirs.
NARROWED = {
    "hgnet": 8,
    "hrnet": 8,
    "inception_resnet_v2": 8,
    "inception_v3": 8,
    "inception_v4": 8,
    "pnasnet": 6,
    "xception": 8,
}


def pixels(side: int) -> Callable[[], dict[str, Tensor]]:
    return lambda: {"x": image(side)["pixel_values"]}


def timm_class(file: str, name: str, **settings: Any) -> Callable[[], nn.Module]:
    """Of files whose named models fix what has to be small here."""

    def build() -> nn.Module:
        torch.manual_seed(0)
        return shaken(getattr(importlib.import_module(f"timm.models.{file}"), name)(num_classes=0, **settings).eval())

    return build


def narrowed(build: Callable[[], nn.Module], by: int) -> Callable[[], nn.Module]:
    """Every width divided, for files that fix all of them. A divisor of all widths but those of the image."""

    def built() -> nn.Module:
        convolution, norm = _ConvNd.__init__, _NormBase.__init__

        def smaller(module: _ConvNd, inputs: int, outputs: int, *args: Any, **more: Any) -> None:
            args = (*args[:6], max(args[6] // by, 1), *args[7:])  # groups
            convolution(module, inputs if inputs == 3 else inputs // by, outputs // by, *args, **more)

        def lower(module: _NormBase, width: int, *args: Any, **more: Any) -> None:
            norm(module, width // by, *args, **more)

        with patch.object(_ConvNd, "__init__", smaller), patch.object(_NormBase, "__init__", lower):
            return build()

    return built


def family(file: str, row: Row, convolutional: bool) -> Family:
    name, side, settings = row
    build = timm_class(file, name, **settings) if name[0].isupper() else timm_model(name, **settings)
    build = narrowed(build, NARROWED[file]) if file in NARROWED else build
    lengths = {"": 56 * 56} if side == 224 else {}
    return Family(f"timm_{file}", calibrated(build, pixels(side)), pixels(side), lengths, convolutional)


FAMILIES = (
    *(family(file, row, convolutional=False) for file, row in TRANSFORMERS.items()),
    Family(
        "timm_byoanet",
        calibrated(timm_class("byobnet", "ByobNet", cfg=BOTNET, img_size=64), pixels(64)),
        pixels(64),
        {},
    ),
    *(family(file, row, convolutional=True) for file, row in CONVOLUTIONS.items()),
)
