"""Tiny text models: encoders, decoders, encoder-decoders. One line per model type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from tests.laws.families import SMALL, TOKENS, WORDS, Family, pair, text, transformers_model

IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
PLAIN: dict[str, Any] = SMALL | WORDS | IDS
SHARED = {"num_key_value_heads": 2}  # four heads of queries, two of keys and values
EXPERTS = {"num_experts_per_tok": 2, "num_experts": 4, "moe_intermediate_size": 24}
GPT: dict[str, Any] = {"n_embd": 32, "n_head": 4, "n_layer": 2, "vocab_size": 64, "n_positions": 32} | IDS
SEQ2SEQ: dict[str, Any] = (
    WORDS
    | IDS
    | {
        "d_model": 32,
        "decoder_start_token_id": 2,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
    }
)
T5: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 64}

ENCODERS: dict[str, dict[str, Any]] = {
    "albert": PLAIN | {"embedding_size": 16},
    "big_bird": PLAIN | {"attention_type": "original_full"},
    "camembert": PLAIN,
    "convbert": PLAIN | {"embedding_size": 16, "conv_kernel_size": 3},
    "data2vec-text": PLAIN,
    "deberta": PLAIN | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": PLAIN | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 4},
    "electra": PLAIN | {"embedding_size": 16},
    "ernie": PLAIN,
    "esm": PLAIN | {"token_dropout": False, "mask_token_id": 3},
    "flaubert": {"vocab_size": 64, "emb_dim": 32, "n_heads": 4, "n_layers": 2, "max_position_embeddings": 32},
    "fnet": PLAIN,
    "funnel": {"vocab_size": 64, "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 48, "block_sizes": [1, 1],
        "architectures": ["FunnelModel"]},
    "ibert": PLAIN,
    "layoutlm": PLAIN | {"max_2d_position_embeddings": 32},
    "longformer": PLAIN | {"attention_window": 4},
    "megatron-bert": PLAIN,
    "mobilebert": PLAIN | {"embedding_size": 16, "intra_bottleneck_size": 16},
    "modernbert": PLAIN | {"local_attention": 4},
    "mpnet": PLAIN,
    "nomic_bert": PLAIN,
    "nystromformer": PLAIN | {"num_landmarks": 4, "segment_means_seq_len": 4, "conv_kernel_size": 3},
    "rembert": PLAIN | {"input_embedding_size": 16, "output_embedding_size": 16},
    "roberta-prelayernorm": PLAIN,
    "roformer": PLAIN | {"embedding_size": 16},
    "splinter": PLAIN,
    "xlm": {"vocab_size": 64, "emb_dim": 32, "n_heads": 4, "n_layers": 2, "max_position_embeddings": 32},
    "xlm-roberta": PLAIN,
    "xlm-roberta-xl": PLAIN,
    "xlnet": {"vocab_size": 64, "d_model": 32, "n_head": 4, "n_layer": 2, "d_inner": 48, "use_mems_eval": False},
}  # fmt: skip
DECODERS: dict[str, dict[str, Any]] = {
    "biogpt": PLAIN,
    "bloom": PLAIN,
    "codegen": GPT | {"rotary_dim": 4},
    "cohere": PLAIN | SHARED,
    "ctrl": GPT | {"dff": 48},
    "deepseek_v3": PLAIN | {"n_routed_experts": 4, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2,
        "moe_intermediate_size": 24, "first_k_dense_replace": 1, "q_lora_rank": 8, "kv_lora_rank": 8,
        "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8},
    "falcon": PLAIN | {"num_kv_heads": 2, "new_decoder_architecture": True},
    "falcon_mamba": PLAIN | {"state_size": 4},
    "gemma": PLAIN | SHARED | {"head_dim": 8},
    "gemma2": PLAIN | SHARED | {"head_dim": 8},
    "gemma3_text": PLAIN | SHARED | {"head_dim": 8},
    "glm": PLAIN | SHARED | {"head_dim": 8},
    "gpt_bigcode": GPT,
    "gpt_neo": WORDS | IDS | {"hidden_size": 32, "num_heads": 4, "num_layers": 2,
        "attention_types": [[["global", "local"], 1]], "window_size": 4},
    "gpt_neox": PLAIN,
    "gpt_oss": PLAIN | SHARED | {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    "gptj": GPT | {"rotary_dim": 4},
    "granite": PLAIN | SHARED,
    "helium": PLAIN | SHARED | {"head_dim": 8},
    "mamba": PLAIN | {"state_size": 4},
    "mamba2": PLAIN | {"state_size": 4, "num_heads": 4, "head_dim": 16, "n_groups": 1},
    "mistral": PLAIN | SHARED,
    "mixtral": PLAIN | SHARED | {"num_local_experts": 4},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "vocab_size": 64, "max_seq_len": 32},
    "nemotron": PLAIN | SHARED,
    "olmo": PLAIN | SHARED,
    "olmo2": PLAIN | SHARED,
    "openai-gpt": GPT,
    "opt": PLAIN | {"ffn_dim": 48},
    "persimmon": PLAIN,
    "phi": PLAIN | SHARED,
    "phi3": PLAIN | SHARED,
    "qwen2": PLAIN | SHARED,
    "qwen2_moe": PLAIN | SHARED | EXPERTS | {"shared_expert_intermediate_size": 24},
    "qwen3": PLAIN | SHARED | {"head_dim": 8},
    "qwen3_moe": PLAIN | SHARED | EXPERTS | {"head_dim": 8},
    "recurrent_gemma": PLAIN | SHARED | {"lru_width": 32, "block_types": ["recurrent", "attention"],
        "attention_window_size": 8},
    "rwkv": PLAIN | {"attention_hidden_size": 32, "use_cache": False},
    "smollm3": PLAIN | SHARED,
    "stablelm": PLAIN | SHARED,
    "starcoder2": PLAIN | SHARED,
    "xglm": {"vocab_size": 64, "d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48} | IDS,
}  # fmt: skip
ENCODER_DECODERS: dict[str, dict[str, Any]] = {
    "bigbird_pegasus": SEQ2SEQ | {"attention_type": "original_full"},
    "blenderbot": SEQ2SEQ,
    "blenderbot-small": SEQ2SEQ,
    "fsmt": SEQ2SEQ | {"src_vocab_size": 64, "tgt_vocab_size": 64},
    "led": SEQ2SEQ | {"attention_window": 4, "max_encoder_position_embeddings": 32,
        "max_decoder_position_embeddings": 32},
    "longt5": T5 | {"local_radius": 3},
    "m2m_100": SEQ2SEQ,
    "marian": SEQ2SEQ,
    "mbart": SEQ2SEQ,
    "mt5": T5,
    "mvp": SEQ2SEQ,
    "pegasus": SEQ2SEQ,
    "pegasus_x": SEQ2SEQ | {"block_size": 4, "num_global_tokens": 2},
    "plbart": SEQ2SEQ,
    "prophetnet": WORDS | IDS | {"hidden_size": 32, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
        "num_encoder_layers": 2, "num_decoder_layers": 2, "num_encoder_attention_heads": 4,
        "num_decoder_attention_heads": 4, "decoder_start_token_id": 2},
    "switch_transformers": T5 | {"num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1, "num_experts": 4},
    "umt5": T5,
}  # fmt: skip

# Some pad the stream to whole windows, or add streams to it.
LENGTHS: dict[str, dict[str, int]] = {
    "funnel": {"encoder": TOKENS, "decoder": TOKENS},
    "led": {"encoder": 8, "decoder": 4},
    "longformer": {"": 8},
    "pegasus_x": {"encoder": 8, "decoder": 4},
    "prophetnet": {"encoder": TOKENS, "decoder": 12},
}
ONE, TWO = {"": TOKENS}, {"encoder": TOKENS, "decoder": 4}


def families(
    table: dict[str, dict[str, Any]], inputs: Callable[[], dict[str, Tensor]], lengths: dict[str, int]
) -> Iterator[Family]:
    for name, given in table.items():
        yield Family(name, transformers_model(name, **given), inputs, LENGTHS.get(name, lengths))


FAMILIES = (*families(ENCODERS, text, ONE), *families(DECODERS, text, ONE), *families(ENCODER_DECODERS, pair, TWO))
