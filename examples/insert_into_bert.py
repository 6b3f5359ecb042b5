"""Graft adapters into a plain transformers model by hand, use them, and take them out again.

Runs offline: the BERT is tiny and randomly initialised. python examples/insert_into_bert.py
"""

from __future__ import annotations

import torch
from transformers import BertConfig, BertModel

import adaptkit as ak
from adaptkit.adapters.base import Shape
from adaptkit.anatomy import select, study

# B batch, T tokens, E width of the side

torch.manual_seed(0)
config = BertConfig(vocab_size=100, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64)
model = BertModel(config).eval()
text = {"input_ids": torch.randint(0, 100, (2, 7)), "attention_mask": torch.ones(2, 7, dtype=torch.long)}
poster = torch.randn(2, 10)  # (B, E)


def hidden_states() -> torch.Tensor:
    """(B, T, 32), with the poster laid out for whoever reads it."""
    with torch.no_grad(), ak.use_sides({"poster": poster}):
        return model(**text).last_hidden_state


keys, plain = list(model.state_dict()), hidden_states()

sites = select(study(model, name="tiny BERT"), ["attn.out", "mlp.out"], layers="1..2")
grafts = [
    ak.Graft("fuse", "gmu", site, Shape(site.width), {"poster": Shape(10, tokens=1)}, {"bottleneck": 8})
    for site in sites
]
receipt = ak.insert(model, grafts, seed=0)
print("grafted at", ", ".join(f"{graft.site.name} {graft.site.layer}" for graft in grafts))
print("trainable parameters:", sum(p.numel() for p in model.parameters() if p.requires_grad))
print("keys of the backbone kept:", [key for key in model.state_dict() if ".adapters." not in key] == keys)
print("identity before training:", torch.allclose(hidden_states(), plain, atol=1e-6))

optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
for _ in range(5):
    with ak.use_sides({"poster": poster}):
        loss = (model(**text).last_hidden_state - 1).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"moved by training: {(hidden_states() - plain).abs().max():.3f}")

ak.remove(model, receipt)
print("outputs restored bit for bit:", torch.equal(hidden_states(), plain))
print("keys restored:", list(model.state_dict()) == keys)
