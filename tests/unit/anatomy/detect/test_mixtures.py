"""Mixtures of experts, latent attention, state-space mixers and hybrids of them."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModel

from adaptkit.anatomy import Anatomy, select, study

SMALL = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def anatomy_of(model_type: str, **settings: Any) -> Anatomy:
    with torch.device("meta"):
        return study(AutoModel.from_config(AutoConfig.for_model(model_type, **SMALL | settings)))


def places(anatomy: Anatomy, layer: int, stack: str = "") -> dict[str, list[str]]:
    """Name -> paths inside the block."""
    found: dict[str, list[str]] = {}
    blocks = {each.name: each.blocks for each in anatomy.stacks}[stack]
    for site in anatomy.sites:
        if site.layer == layer and site.stack == stack:
            found.setdefault(site.name, []).append(site.path.removeprefix(blocks[layer]).lstrip("."))
    return found


def test_the_mlp_of_a_mixture_is_the_module_around_its_experts() -> None:
    anatomy = anatomy_of("mixtral", num_local_experts=2)
    found = places(anatomy, 1)
    assert found["mlp.in"] == found["mlp.out"] == ["mlp"]
    assert found["mlp.stream"] == ["post_attention_layernorm"]
    assert found["mlp.experts"] == ["mlp.experts"]
    assert found["mlp.sum"] == [""]
    assert not {"mlp.up", "mlp.down"} & found.keys()
    widths = {site.width for site in select(anatomy, ["mlp.out", "mlp.experts"])}
    assert widths == {16}
    assert not any(site.is_projection for site in select(anatomy, ["mlp.out", "mlp.experts"]))


def test_a_shared_expert_has_words_of_its_own() -> None:
    found = places(anatomy_of("qwen2_moe", num_experts=4, moe_intermediate_size=8, decoder_sparse_step=1), 1)
    assert found["mlp.out"] == ["mlp"]
    assert found["mlp.shared.gate"] == ["mlp.shared_expert.gate_proj"]
    assert found["mlp.shared.up"] == ["mlp.shared_expert.up_proj"]
    assert found["mlp.shared.down"] == ["mlp.shared_expert.down_proj"]


def test_experts_that_are_modules_are_addressed_together() -> None:
    anatomy = anatomy_of(
        "switch_transformers", d_model=16, d_kv=4, d_ff=24, num_layers=2, num_decoder_layers=2, num_heads=4,
        num_experts=3, num_sparse_encoder_layers=1, num_sparse_decoder_layers=1,
    )  # fmt: skip
    found = places(anatomy, 1, "encoder")
    assert len(found["mlp.experts.up"]) == len(found["mlp.experts.down"]) == 3
    assert len(set(found["mlp.experts.up"])) == 3
    assert {site.in_width for site in select(anatomy, ["encoder.mlp.experts.up"])} == {16}


def test_latent_attention_has_its_query() -> None:
    found = places(
        anatomy_of(
            "deepseek_v3", num_key_value_heads=4, first_k_dense_replace=1, n_routed_experts=4, n_group=2, topk_group=1,
            num_experts_per_tok=2, moe_intermediate_size=8, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4,
            qk_nope_head_dim=4, v_head_dim=4,
        ),
        1,
    )  # fmt: skip
    assert found["attn.q"] == ["self_attn.q_b_proj"]
    assert found["attn.out"] == ["self_attn.o_proj"]
    assert found["mlp.out"] == ["mlp"]


def test_a_state_space_mixer_is_no_attention() -> None:
    found = places(anatomy_of("mamba", state_size=4), 1)
    assert found["mixer.in_proj"] == ["mixer.in_proj"]
    assert found["mixer.out"] == ["mixer.out_proj"]
    assert not any(name.startswith(("attn", "mlp")) for name in found)


def test_each_layer_of_a_hybrid_has_its_own_branches() -> None:
    anatomy = anatomy_of(
        "jamba", num_hidden_layers=4, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2,
        expert_layer_offset=1, num_experts=2, mamba_d_state=4, mamba_dt_rank=4,
    )  # fmt: skip
    assert [stack.depth for stack in anatomy.stacks] == [4]
    mixer, attention = places(anatomy, 0), places(anatomy, 1)
    assert mixer["mixer.out"] == ["mamba.out_proj"]
    assert "attn.q" not in mixer
    assert attention["attn.q"] == ["self_attn.q_proj"]
    assert [site.layer for site in select(anatomy, ["attn.q"])] == [1, 3]
    assert [site.layer for site in select(anatomy, ["mlp.out"])] == [0, 1, 2, 3]
