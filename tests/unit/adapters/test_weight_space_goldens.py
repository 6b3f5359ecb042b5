"""DoRA and (IA)3 in a whole BERT, with weights saved by PEFT: base, adapted and merged logits (float32)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from adaptkit.anatomy import Site, select, study
from adaptkit.artifact import merge
from adaptkit.surgery import Graft, adapters_of, insert
from adaptkit.surgery.hosts import host_shape
from tests.laws.test_placement_goldens import CLOSE, GOLDENS, head_model

# Site -> options; our parameter -> PEFT's.
SAMPLES = {
    "bert_dora": (
        "dora",
        {"attn.q": {"rank": 4, "alpha": 8.0}, "attn.v": {"rank": 4, "alpha": 8.0}},
        {"A": "lora_A.weight", "B": "lora_B.weight", "m": "lora_magnitude_vector"},
    ),
    "bert_ia3": (
        "ia3",
        {"attn.k": {}, "attn.v": {}, "attn.o": {"on": "input"}, "mlp.down": {"on": "input"}},
        {"l": "ia3_l"},
    ),
}


def weights(saved: Mapping[str, Tensor], site: Site, names: Mapping[str, str]) -> dict[str, Tensor]:
    """PEFT keeps (IA)3's vector as a row or column."""
    found = {ours: saved[f"base_model.model.bert.{site.path}.{theirs}"] for ours, theirs in names.items()}
    return {ours: value.flatten() if ours == "l" else value for ours, value in found.items()}


@pytest.mark.parametrize("sample", SAMPLES)
def test_peft_bert(sample: str) -> None:
    kind, places, names = SAMPLES[sample]
    model = head_model("bert")
    io = load_file(GOLDENS / "peft" / sample / "io.safetensors")
    saved = load_file(GOLDENS / "peft" / sample / "adapter_model.safetensors")
    inputs = {key.removeprefix("in."): value for key, value in io.items() if key.startswith("in.")}
    base: nn.Module = model.bert
    grafts = [
        Graft("golden", kind, site, host_shape(base, site), options=places[site.name])
        for site in select(study(base), list(places), "all")
    ]
    receipt = insert(base, grafts)
    assert len(grafts) * len(names) == sum(".bert." in key for key in saved)
    # PEFT trains the head too; its fresh logits are those of the fresh head, so ours are compared with the base.
    torch.testing.assert_close(model(**inputs).logits, io["out.base_logits"], rtol=0, atol=1e-6)

    for graft in grafts:
        state = weights(saved, graft.site, names)
        adapters_of(base.get_submodule(graft.site.path))[graft.child].load_state_dict(state)
    model.classifier.load_state_dict({x: saved[f"base_model.model.classifier.{x}"] for x in ("weight", "bias")})
    torch.testing.assert_close(model(**inputs).logits, io["out.adapter_logits"], **CLOSE)
    merge(base, receipt)
    torch.testing.assert_close(model(**inputs).logits, io["out.merged_logits"], **CLOSE)
