"""Recipes with prompts, prefixes, ladders and LoReFT: planned in full, and trained from end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from adaptkit.artifact import load_artifact
from adaptkit.errors import SiteError
from adaptkit.model.costing import cost
from adaptkit.plan import Plan, make_plan
from adaptkit.recipe import load_recipe, parse_recipe
from adaptkit.training import train

TEXT = {"plot": {"kind": "text", "route": "backbone"}}


def plan(model: str, adapter: dict[str, Any], **backbone: Any) -> Plan:
    return make_plan(
        parse_recipe(
            {
                "schema": 1,
                "name": "test",
                "backbone": {"model": model, **backbone},
                "modality": TEXT,
                "adapter": adapter,
                "data": {"format": "jsonl"},
                "task": {"genres": {"kind": "multilabel", "labels": ["a", "b"]}},
                "train": {},
            }
        )
    )


def test_the_prompt_takes_positions_from_the_text() -> None:
    prompt = {"p": {"kind": "prompt", "at": "embed.in", "length": 40}}
    adapter = {"w": {"kind": "loreft", "at": "block.out"}, **prompt}
    found = plan("bert-base", adapter, max_tokens=472)
    tokens = {graft.adapter: graft.host.tokens for graft in found.grafts}
    assert tokens == {"w": 512, "p": 512}, "the blocks see the prompt as well"
    with pytest.raises(SiteError, match=r"of which 40 are taken .* prompts.*max_tokens <= 472"):
        plan("bert-base", adapter, max_tokens=473)
    with pytest.raises(SiteError, match="prompt"):
        plan("bert-base", adapter, max_tokens=512)
    after = {"p": {"kind": "prefix", "at": "attn.kv", "length": 40, "positions": "after"}}
    assert plan("bert-base", after, max_tokens=472).grafts
    with pytest.raises(SiteError, match=r"of which 40 are taken .* prompts.*max_tokens <= 472"):
        plan("bert-base", after, max_tokens=473)
    with pytest.raises(SiteError, match=r"adapter\.p at encoder\.attn\.kv: there are no positions that a prefix"):
        plan("t5-small", after)
    assert plan("t5-small", prompt, max_tokens=600).grafts, "relative positions have no end"
    assert plan("bart-base", {"p": prompt["p"] | {"at": "decoder.embed.in"}}, max_tokens=1024).grafts


def test_counts_of_vl_adapter() -> None:
    """Prompt of 40 tokens with mid dimension 800 in bart-base: 2,843,936 with the visual embedding of 1,582,848."""
    prompt = {"p": {"kind": "prompt", "at": "encoder.embed.in", "length": 40, "reparametrize": 800}}
    assert plan("bart-base", prompt).parameters.adapters == 2_843_936 - 1_582_848


def test_shared_parameters_of_prefixes_count_once() -> None:
    found = plan("bert-base", {"p": {"kind": "prefix", "at": "attn.kv", "length": 10, "reparametrize": 64}})
    per_layer, once = 2 * 65 * 768, 10 * 768 + 768 * 64 + 64
    assert [graft.parameters for graft in found.grafts] == [per_layer + once] + [per_layer] * 11


def test_longer_inputs_cost_more() -> None:
    costs = []
    for length in (1, 65):
        adapter = {"p": {"kind": "prompt", "at": "embed.in", "length": length}}
        costs.append(cost(plan("bert-base", adapter, max_tokens=64)).flops.forward)
    assert 1.9 < costs[1] / costs[0] < 2.1, "twice as many tokens"


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ({"kind": "prompt", "at": "mlp.out"}, r"embed\.in"),
        ({"kind": "prefix", "at": "mlp.out"}, r"attn\.kv"),
        ({"kind": "bottleneck", "at": "attn.kv"}, "keys and values"),
        ({"kind": "bottleneck", "at": "embed.in"}, "input sequence"),
        ({"kind": "ladder", "at": "mlp.out"}, r"final\.out"),
        ({"kind": "prefix", "at": "cross_attn.kv"}, "no site"),
    ],
)
def test_wrong_places_are_refused(adapter: dict[str, Any], message: str) -> None:
    with pytest.raises(SiteError, match=message):
        plan("bert-base", {"a": adapter})


ADAPTERS = {
    "prompt": 'at = ["embed.in"]\nlength = 4\nreparametrize = 6',
    "prompt_of_words": 'at = ["embed.in"]\nlength = 4\ninit = "vocabulary"',
    "prefix": 'at = ["attn.kv"]\nlength = 4\nreparametrize = 6',
    "ladder": 'at = ["final.out"]\nreduction_factor = 2\nheads = 2',
    "loreft": 'at = ["block.out"]\nrank = 2\nfirst = 1\nlast = 1',
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_trained_saved_and_loaded(name: str, tiny_recipe: Path, tmp_path: Path) -> None:
    text = tiny_recipe.read_text()
    start, end = text.index("[adapter.fuse]"), text.index("[data]")
    table = f'[adapter.fuse]\nkind = "{name.partition("_")[0]}"\n{ADAPTERS[name]}\n\n'
    tiny_recipe.write_text(text[:start].replace('route = "side"', 'route = "fusion"') + table + text[end:])
    result = train(load_recipe(tiny_recipe), runs=tmp_path / "runs")
    model = load_artifact(result.run / "artifact")
    moved = {path: p for path, p in model.backbone.named_parameters() if ".adapters." in f".{path}"}
    assert moved
    fresh = load_artifact(result.run / "artifact")
    assert all(torch.equal(p, fresh.backbone.get_parameter(path)) for path, p in moved.items())
