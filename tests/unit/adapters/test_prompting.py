"""Prompts and prefixes as modules: what they hand out, how they start, what layers share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from adaptkit.adapters import Prefix, Prompt
from adaptkit.adapters.base import Placement, Shape
from adaptkit.errors import SiteError
from adaptkit.sides import Sides

GOLDENS = Path(__file__).parents[2] / "goldens"
# B batch, T tokens, D width, L length, M width of the re-parametrisation, H heads
B, T, D, L, M, H = 2, 5, 12, 3, 7, 4


def test_re_parametrised_prompts_of_vl_adapter() -> None:
    with np.load(GOLDENS / "vladapter" / "input_prompts.npz") as found:
        g = {name: torch.from_numpy(found[name]) for name in found if name != "config"}
    length, width = g["w.prefix_embedding.0.weight"].shape
    module = Prompt(Shape(width), {}, length=length, reparametrize=9).double()
    names = {"embedding": "0.weight"}
    names |= {f"reparametrization.{i}.{part}": f"{i + 1}.{part}" for i in (0, 2) for part in ("weight", "bias")}
    module.load_state_dict({ours: g[f"w.prefix_embedding.{theirs}"] for ours, theirs in names.items()})
    torch.testing.assert_close(module.tokens().expand(len(g["y"]), -1, -1), g["y"], rtol=0, atol=1e-10)


def test_a_prompt_comes_before_the_stream() -> None:
    module, h = Prompt(Shape(D), {}, length=L), torch.randn(B, T, D)
    out = module(h, h, Sides())
    assert torch.equal(out, torch.cat([module.tokens().expand(B, -1, -1), h], dim=1))
    assert module(h[:, :0], h[:, :0], Sides()).shape == (B, L, D)


def test_prompts_start_small_or_as_words() -> None:
    module = Prompt(Shape(64), {}, length=500)
    assert abs(module.embedding.std().item() - 0.02) < 1e-3
    words = torch.randn(64, 11)  # (D, V)
    fresh = module.embedding.clone()
    module.adopt(words, None)
    assert torch.equal(module.embedding, fresh), "normal values have nothing to do with words"
    module = Prompt(Shape(64), {}, length=500, init="vocabulary")
    module.adopt(words, None)
    rows = [(token == words.T).all(1).nonzero().item() for token in module.tokens()]
    assert set(rows) == set(range(11)), "every token is a word, and all words are drawn"


@pytest.mark.parametrize("reparametrize", [None, M])
def test_counts(reparametrize: int | None) -> None:
    prompt = Prompt(Shape(D), {}, length=L, reparametrize=reparametrize)
    prefix = Prefix(Shape(D, heads=H), {}, length=L, reparametrize=reparametrize)
    found = [sum(p.numel() for p in module.parameters()) for module in (prompt, prefix)]
    if reparametrize is None:
        assert found == [L * D, 2 * L * D]
    else:
        assert found == [L * D + 2 * D * M + M + D, 2 * (M + 1) * D + L * D + D * M + M]


def test_documented_flops() -> None:
    for module, expected in (
        (Prompt(Shape(D), {}, length=L, reparametrize=M), 4 * L * D * M),
        (Prefix(Shape(D, heads=H), {}, length=L, reparametrize=M), 6 * L * D * M),
    ):
        with FlopCounterMode(display=False) as counter:
            module(torch.randn(B, 0, D), torch.randn(B, 0, D), Sides())
        assert counter.get_total_flops() == expected


def test_keys_and_values_of_a_prefix() -> None:
    """Per position first all keys, then all values, head by head: the order in which PEFT stores them."""
    module = Prefix(Shape(D, heads=H), {}, length=L)
    keys, values = module.keys_values()
    assert keys.shape == values.shape == (H, L, D // H)
    for position in range(L):
        flat = torch.cat([keys[:, position].flatten(), values[:, position].flatten()])
        assert torch.equal(flat, module.embedding[position])
    given = module(torch.randn(B, 0, D), torch.randn(B, 0, D), Sides())
    assert all(torch.equal(sample, torch.stack([keys, values])) for sample in given)


def placed(stack: str, layer: int, reparametrize: int | None = M) -> Any:
    module = Prefix(Shape(D, heads=H), {}, length=L, reparametrize=reparametrize)
    module.placement = Placement(stack, "attn.kv", layer, 2)
    return module


def test_layers_share_what_li_and_liang_share() -> None:
    """As one MLP from (L, D) to the keys and values of all layers, of which each layer takes its part."""
    layers = [placed("encoder", 0), placed("encoder", 1), placed("decoder", 0)]
    Prefix.tie(layers)
    assert layers[0].embedding is layers[1].embedding
    assert layers[0].common is layers[1].common
    assert layers[0].own is not layers[1].own
    assert layers[0].embedding is not layers[2].embedding
    whole = torch.nn.functional.linear(
        torch.tanh(layers[0].common[0](layers[0].embedding)),
        torch.cat([layer.own.weight for layer in layers[:2]]),
        torch.cat([layer.own.bias for layer in layers[:2]]),
    )
    for layer, part in zip(layers[:2], whole.split(2 * D, dim=1), strict=True):
        keys, values = layer.keys_values()
        expected = part.unflatten(1, (2, H, D // H)).permute(1, 2, 0, 3)
        torch.testing.assert_close(torch.stack([keys, values]), expected)


def test_tasks_with_prefixes_of_their_own_share_nothing() -> None:
    layers = [placed("", 0), placed("", 0), placed("", 1), placed("", 1)]  # two tasks, layer by layer
    Prefix.tie(layers)
    assert layers[0].embedding is layers[2].embedding
    assert layers[1].embedding is layers[3].embedding
    assert layers[0].embedding is not layers[1].embedding


def test_plain_prefixes_share_nothing() -> None:
    layers = [placed("", 0, None), placed("", 1, None)]
    Prefix.tie(layers)
    assert layers[0].embedding is not layers[1].embedding


@pytest.mark.parametrize("options", [{"length": 0}, {"reparametrize": 0}])
def test_what_cannot_work_is_refused(options: dict) -> None:
    with pytest.raises(SiteError, match="at least 1"):
        Prompt(Shape(D), {}, **options)
    with pytest.raises(SiteError, match="at least 1"):
        Prefix(Shape(D, heads=H), {}, **options)


def test_a_prefix_needs_heads() -> None:
    with pytest.raises(SiteError, match=r"attn\.kv"):
        Prefix(Shape(D), {})
