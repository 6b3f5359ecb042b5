"""The other half of `with_adapterhub`: runs where `adapters` and its transformers 4 are, and adaptkit is not.

    python adapterhub_side.py make FOLDER     # a backbone of every family, with every adapter that adaptkit reads
    python adapterhub_side.py load FOLDER     # everything under FOLDER/*/*/theirs is loaded again, and compared

An adapter's folder has `io.safetensors`: the inputs, and what the model returned.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import adapters
import torch
import transformers
from safetensors.torch import load_file, save_file

BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
HEADS = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
BART = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "max_position_embeddings": 64, **HEADS}
WORDS = {"vocab_size": 99}
MODELS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("bert", "roberta", "electra", "deberta-v2"), BERT | WORDS | {"max_position_embeddings": 64}),
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64, **WORDS},
    "bart": BART | WORDS,
    "mbart": BART | WORDS,
    "t5": {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 64, **WORDS},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, **WORDS},
    "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "rotary_dim": 4, **WORDS},
    "llama": BERT | WORDS | {"num_key_value_heads": 2},
    "mistral": BERT | WORDS | {"num_key_value_heads": 2},
    "vit": BERT | {"image_size": 16, "patch_size": 8},
    "beit": BERT | {"image_size": 16, "patch_size": 8},
    "clip_vision_model": BERT | {"image_size": 16, "patch_size": 8},
}
PREFIX = adapters.PrefixTuningConfig(flat=True, prefix_length=3)
ADAPTERS: dict[str, Any] = {
    "seq_bn": adapters.SeqBnConfig(reduction_factor=4),
    "double_seq_bn": adapters.DoubleSeqBnConfig(reduction_factor=4, cross_adapter=True, leave_out=[1]),
    "learned": adapters.DoubleSeqBnConfig(reduction_factor=5.3, scaling="learned"),
    "par_bn": adapters.ParBnConfig(reduction_factor=4, ln_before=True),
    "compacter": adapters.CompacterConfig(reduction_factor=4),
    "own_rule": adapters.CompacterPlusPlusConfig(reduction_factor=4, shared_phm_rule=False, factorized_phm_W=False),
    "lora": adapters.LoRAConfig(r=4, alpha=6, intermediate_lora=True, output_lora=True, attn_matrices=["q", "v"]),
    "ia3": adapters.IA3Config(),
    "prefix": PREFIX,
    "prefix_mlp": adapters.PrefixTuningConfig(prefix_length=3, bottleneck_size=6),
    "mam": adapters.MAMConfig(prefix_tuning=PREFIX, adapter=adapters.ParBnConfig(reduction_factor=4)),
}


def model_in(folder: Path) -> Any:
    """With eager attention: with SDPA the prefixes of `adapters` 1.3.0 move the causal mask of decoders."""
    family = json.loads((folder / "config.json").read_text())["model_type"]
    auto = transformers.CLIPVisionModel if family == "clip_vision_model" else transformers.AutoModel
    return auto.from_pretrained(folder, attn_implementation="eager").eval()


def inputs_of(family: str) -> dict[str, torch.Tensor]:
    if family in ("vit", "beit", "clip_vision_model"):
        return {"pixel_values": torch.randn(2, 3, 16, 16)}
    ids = torch.randint(5, 95, (2, 7))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return inputs | ({"decoder_input_ids": torch.randint(5, 95, (2, 5))} if family in ("bart", "mbart", "t5") else {})


@torch.no_grad()
def make(folder: Path) -> None:
    for family, config in MODELS.items():
        torch.manual_seed(0)
        auto = transformers.CLIPVisionModel if family == "clip_vision_model" else transformers.AutoModel
        build = auto if family == "clip_vision_model" else auto.from_config
        plain: Any = build(transformers.AutoConfig.for_model(family, **config))
        for parameter in plain.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
        plain.save_pretrained(folder / family / "backbone")
        for name, adapter in ADAPTERS.items():
            model = model_in(folder / family / "backbone")
            adapters.init(model)
            model.add_adapter("own", config=adapter)
            model.set_active_adapters("own")
            for key, parameter in model.named_parameters():
                if ".own." in key:
                    parameter.copy_(0.3 * torch.randn_like(parameter))
            place = folder / family / name
            model.save_adapter(str(place), "own")
            shared = {key: value for key, value in model.state_dict().items() if key.startswith("shared_parameters")}
            if shared:  # which `adapters` leaves out of a model without a head
                tensors = torch.load(place / "pytorch_adapter.bin", weights_only=True)
                torch.save(tensors | shared, place / "pytorch_adapter.bin")
            inputs = inputs_of(family)
            output = model(**inputs).last_hidden_state
            save_file({f"in.{key}": value for key, value in inputs.items()} | {"out": output}, place / "io.safetensors")


@torch.no_grad()
def load(folder: Path) -> None:
    """Print, for every adapter that was written, how far its outputs are off and what was missing or unexpected."""
    told = {}
    for theirs in sorted(folder.glob("*/*/theirs")):
        place = theirs.parent
        io = load_file(place / "io.safetensors")
        inputs = {key.removeprefix("in."): value for key, value in io.items() if key.startswith("in.")}
        found = []
        for safe in (False, True):
            model = model_in(place.parent / "backbone")
            adapters.init(model)
            info: dict[str, list[str]] = {}
            model.load_adapter(str(theirs), set_active=True, loading_info=info, use_safetensors=safe)
            found.append(float((model(**inputs).last_hidden_state - io["out"]).abs().max()))
            found += [*info.get("missing_keys", []), *info.get("unexpected_keys", [])]
        told[f"{place.parent.name}/{place.name}"] = found
    (folder / "loaded.json").write_text(json.dumps(told))


if __name__ == "__main__":
    {"make": make, "load": load}[sys.argv[1]](Path(sys.argv[2]))
