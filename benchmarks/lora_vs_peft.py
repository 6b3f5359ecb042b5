"""One training step of a frozen BERT with LoRA: adaptkit's surgery against PEFT's wrappers, same weights.

pip install peft && python benchmarks/lora_vs_peft.py
"""

from __future__ import annotations

import copy

import torch
from paired import arguments, device, paired, report
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertModel

from adaptkit.anatomy import select, study
from adaptkit.surgery import Graft, host_shape, insert

BATCH, TOKENS, RANK = 32, 32, 16


def main() -> None:
    options = arguments(__doc__ or "", runs=20)
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    plain = BertModel(config).to(device())
    wrapped = get_peft_model(
        copy.deepcopy(plain), LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=["query", "value"])
    )
    sites = select(study(plain), ["attn.q", "attn.v"], "all")
    ours = plain
    insert(
        ours,
        [Graft("lora", "lora", s, host_shape(ours, s), options={"rank": RANK, "alpha": 2.0 * RANK}) for s in sites],
    )
    inputs = {
        "input_ids": torch.randint(5, 30000, (BATCH, TOKENS), device=device()),
        "attention_mask": torch.ones(BATCH, TOKENS, dtype=torch.long, device=device()),
    }
    with torch.no_grad():
        same = torch.allclose(ours(**inputs).last_hidden_state, wrapped(**inputs).last_hidden_state, atol=1e-5)
    assert same, "both are the frozen model at the start"

    def step(model: torch.nn.Module) -> None:
        model.zero_grad()
        model(**inputs).last_hidden_state.square().mean().backward()

    def forward(model: torch.nn.Module) -> None:
        with torch.no_grad():
            model(**inputs)

    pairs = [
        paired("forward + backward", lambda: step(ours), lambda: step(wrapped), runs=options.runs),
        paired("forward only", lambda: forward(ours), lambda: forward(wrapped), runs=options.runs),
    ]
    report("lora_vs_peft", pairs, {"batch": BATCH, "tokens": TOKENS, "rank": RANK, "model": "BERT 6 x 384"})


if __name__ == "__main__":
    main()
