"""The laws of surgery for the weights of fused experts, in mixtures of every form they have."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.laws.cases import CASES, EXPERTS, Case
from tests.laws.families import SMALL, TOKENS, WORDS, Family, text, transformers_model
from tests.laws.laws import LAWS, Cell, applies, stirred
from tests.laws.test_causality import generate, language_model, prompts, same
from tests.laws.whole import WHOLE
from tests.laws.zoo import ZOO

# Its experts have no gate: `up` and `down`.
NEMOTRON = {**SMALL, **WORDS, "layers_block_type": ["full_attention", "moe"], "n_routed_experts": 4, "head_dim": 8,
            "num_key_value_heads": 2, "moe_intermediate_size": 24, "moe_shared_expert_intermediate_size": 24,
            "initializer_range": 0.2}  # fmt: skip
FAMILIES = {name: ZOO[name] for name in ("mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss", "deepseek_v3")}
FAMILIES["nemotron_h"] = Family("nemotron_h", transformers_model("nemotron_h", **NEMOTRON), text, {"": TOKENS})
LORA: dict[str, Any] = {"kind": "lora", "rank": 3}
MIXTURES = (
    CASES["lora_experts"],
    Case("rslora_shared", EXPERTS, {**LORA, "scaling": "rank_stabilized", "share": "layers"}),
    Case("lora_per_task", EXPERTS, {**LORA, "per_task": "half_shared_up"}, tasks=True),
)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("case", MIXTURES, ids=lambda case: case.name)
@pytest.mark.parametrize("name", FAMILIES)
def test_law(name: str, case: Case, law: str) -> None:
    if applies(law, case):
        LAWS[law](Cell(FAMILIES[name], case))


@pytest.mark.parametrize("law", WHOLE)
@pytest.mark.parametrize("name", ["mixtral", "gpt_oss"])
def test_graphs_and_recomputation(name: str, law: str) -> None:
    """With LoRA in the attention and in the experts at once."""
    WHOLE[law](ZOO[name], ("lora", "lora_experts"))


def test_a_cache_changes_nothing() -> None:
    settings = {**SMALL, **WORDS, "num_key_value_heads": 2, "num_local_experts": 4}
    family, case = Family("lm_mixtral", language_model("mixtral", **settings), prompts, {"": 12}), CASES["lora_experts"]
    cell = Cell(family, case)
    model, _ = cell.inserted()
    stirred(model, cell.own(model))
    without = generate(model, case, family.inputs(), use_cache=False)
    for cache in ({"use_cache": True}, {"cache_implementation": "static"}, {"num_beams": 1, "use_cache": True}):
        same(generate(model, case, family.inputs(), **cache), without)
    assert torch.isfinite(without.logits[0]).all()
