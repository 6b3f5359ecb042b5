"""Names of transformers 4 lead to the modules of the installed transformers, for every family that was renamed."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from adaptkit.anatomy import select
from adaptkit.anatomy.tables.renamed import current_path, renamed_families
from adaptkit.errors import SiteError
from tests.laws.zoo import ZOO

GOLDENS = Path(__file__).parents[3] / "goldens"

ATTENTION = ("attention.attention.query", "attention.attention.key", "attention.attention.value")
VIT = (*ATTENTION, "attention.output.dense", "intermediate.dense", "output.dense")
SWIN = tuple(leaf.replace("attention.attention", "attention.self") for leaf in VIT)
SEGFORMER = (*SWIN[:4], "mlp.dense1", "mlp.dense2")
CLIP = (*(f"self_attn.{leaf}_proj" for leaf in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2")
LLAMA = (*(f"self_attn.{leaf}_proj" for leaf in "qkvo"), *(f"mlp.{leaf}_proj" for leaf in ("gate", "up", "down")))
LAYERS = ("encoder.layer.0", "encoder.layer.1")
STAGES = tuple(f"encoder.block.{stage}.0" for stage in range(4))
WINDOWS = ("encoder.layers.0.blocks.0", "encoder.layers.0.blocks.1", "encoder.layers.1.blocks.0")
TOWERS = ("vision_model.encoder.layers.0", "vision_model.encoder.layers.1")

# Family, blocks and linear layers inside them, as transformers 4 named them.
OLD = [
    *((family, LAYERS, VIT) for family in ("vit", "deit", "beit", "ijepa", "vit_mae", "vit_msn", "vivit")),
    ("audio-spectrogram-transformer", LAYERS, VIT),
    *((family, LAYERS, (*VIT[:4], "mlp.fc1", "mlp.fc2")) for family in ("dinov2", "dinov2_with_registers")),
    ("dinov3_vit", ("layer.0", "layer.1"), (*(f"attention.{x}_proj" for x in "qkvo"), *LLAMA[4:])),
    ("swin", (*WINDOWS, "encoder.layers.2.blocks.0"), SWIN),
    ("segformer", STAGES, SEGFORMER),
    ("altclip", tuple(f"text_model.roberta.{layer}" for layer in LAYERS), SWIN),
    ("mixtral", ("layers.0", "layers.1"), LLAMA[:4]),
    ("siglip_vision_model", TOWERS, CLIP),
    ("clip", TOWERS, CLIP),
    ("siglip", TOWERS, CLIP),
    ("llava", tuple(f"vision_tower.{layer}" for layer in TOWERS), CLIP),
    ("llava", ("language_model.model.layers.0", "language_model.model.layers.1"), LLAMA),
    ("paligemma", tuple(f"vision_tower.{layer}" for layer in TOWERS), CLIP),
    ("internvl", ("language_model.model.layers.0", "language_model.model.layers.1"), LLAMA),
    ("qwen2_vl", ("layers.0", "layers.1"), LLAMA),
    ("bert", LAYERS, SWIN),  # never renamed
]


@pytest.mark.parametrize(("family", "blocks", "leaves"), OLD, ids=lambda value: value if isinstance(value, str) else "")
def test_the_old_names_are_all_linear_layers_of_the_blocks(
    family: str, blocks: tuple[str, ...], leaves: tuple[str, ...]
) -> None:
    model = ZOO[family].build()
    now = {current_path(family, f"{block}.{leaf}") for block, leaf in product(blocks, leaves)}
    inside = tuple(f"{current_path(family, block)}." for block in blocks)
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert now == {name for name in linear if name.startswith(inside)}


@pytest.mark.parametrize(
    ("family", "old", "now"),
    [
        ("vit", "vit.encoder.layer.1.output.dense.weight", "vit.layers.1.mlp.fc2.weight"),
        ("vit", "encoder.layer.1.attention.attention", "layers.1.attention"),
        ("vit", "encoder.layer.0.layernorm_before.bias", "layers.0.layernorm_before.bias"),
        ("vit_mae", "decoder.decoder_layers.0.attention.attention.key", "decoder.decoder_layers.0.attention.k_proj"),
        ("dinov2", "encoder.layer.0.mlp.weights_out", "encoder.layer.0.mlp.down_proj"),
        ("segformer", "encoder.block.0.0.attention.self.sr", "stages.0.blocks.0.attention.sequence_reduction."
         "sequence_reduction"),
        ("segformer", "encoder.block.2.1.layer_norm_1", "stages.2.blocks.1.layernorm_before"),
        ("segformer", "encoder.patch_embeddings.1.proj", "stages.1.patch_embeddings.proj"),
        ("mixtral", "layers.0.block_sparse_moe.gate", "layers.0.mlp.gate"),
        ("llava", "language_model.lm_head.weight", "lm_head.weight"),
        ("llava", "model.vision_tower.vision_model.encoder.layers.0", "model.vision_tower.encoder.layers.0"),
        ("qwen2_vl", "model.layers.0.mlp.up_proj", "model.language_model.layers.0.mlp.up_proj"),
        ("qwen2_vl", "visual.blocks.0.attn.qkv", "visual.blocks.0.attn.qkv"),
        ("detr", "decoder.layers.1.encoder_attn.out_proj", "decoder.layers.1.encoder_attn.o_proj"),
        ("detr", "encoder.layers.0.fc1", "encoder.layers.0.mlp.fc1"),
        ("bert", "encoder.layer.0.attention.self.query", "encoder.layer.0.attention.self.query"),
        ("no such family", "encoder.layer.0", "encoder.layer.0"),
    ],
)  # fmt: skip
def test_single_names(family: str, old: str, now: str) -> None:
    assert current_path(family, old) == now


@pytest.mark.parametrize(
    "family", sorted({"bert", "resnet", "vision_transformer"} | set(renamed_families()) & set(ZOO))
)
def test_todays_names_stay(family: str) -> None:
    model = ZOO.get(family, ZOO["timm_vit"]).build()
    for name in (*model.state_dict(), *(name for name, _ in model.named_modules())):
        assert current_path(family, name) == name


def test_every_renamed_family_is_a_model_type() -> None:
    from transformers import CONFIG_MAPPING

    assert set(renamed_families()) <= set(CONFIG_MAPPING)


def test_detr_of_today_has_the_new_names() -> None:
    from transformers import AutoConfig, AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model("detr", d_model=32, encoder_layers=1, decoder_layers=1))
    names = {name for name, _ in model.named_modules()}
    old = ("encoder.layers.0.fc2", "encoder.layers.0.self_attn.out_proj", "decoder.layers.0.encoder_attn.out_proj")
    assert not names & set(old)
    assert {current_path("detr", name) for name in old} <= names
    assert all(current_path("detr", name) == name for name in names)


def test_a_whole_file_of_transformers_4_fits() -> None:
    """AdapterHub's ViT: every tensor finds its place, and no place stays empty."""
    from transformers import AutoConfig, AutoModel

    settings = json.loads((GOLDENS / "adapterhub/vit/backbone/config.json").read_text())
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model(settings.pop("model_type"), **settings))
    with safe_open(GOLDENS / "adapterhub/vit/backbone/backbone.safetensors", "pt") as file:
        keys = list(file.keys())
    assert any(key.startswith("encoder.layer.") for key in keys)
    assert {current_path("vit", key) for key in keys} == set(model.state_dict())


def test_a_path_of_transformers_4_is_told_its_new_name() -> None:
    with pytest.raises(SiteError, match=r"transformers 5 calls it .path:layers\.\*\.attention\.q_proj"):
        select(ZOO["vit"].anatomy(), ["path:encoder.layer.*.attention.attention.query"])
