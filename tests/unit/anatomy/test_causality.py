"""Which stacks are causal: what is detected is what the numbers say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adaptkit.anatomy import Anatomy, Stack, select, study
from adaptkit.anatomy.layout import as_tokens
from tests.laws.families import Family, calm_outputs
from tests.laws.zoo import ZOO

FAMILIES = (
    "bert", "distilbert", "xlm-roberta", "deberta-v2", "gpt2", "llama", "opt", "bloom", "mpt", "mamba", "openai-gpt",
    "gemma2", "bart", "t5", "fsmt", "whisper", "clip", "siglip", "paligemma", "vit", "xlnet",
)  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_a_stack_is_causal_where_no_token_sees_a_later_one(name: str) -> None:
    family = ZOO[name]
    for stack in family.anatomy().stacks:
        assert stack.causal == later_tokens_change_nothing(family, stack), stack.name


def later_tokens_change_nothing(family: Family, stack: Stack) -> bool:
    """Whether the last block returns the same for the tokens before one that is disturbed ahead of the first block."""
    model, found = family.fresh(), []
    layout = next(site.layout for site in family.anatomy().sites if site.path == stack.blocks[0])

    def disturb(module: nn.Module, args: Any, kwargs: Any) -> Any:
        key = next((k for k, v in kwargs.items() if isinstance(v, Tensor)), None)
        h = (args[0] if args else kwargs[key]).clone()
        tokens = as_tokens(h, layout)  # (B, T, D), a view
        tokens[:, -1] += torch.linspace(-3, 3, tokens.shape[-1])
        return ((h, *args[1:]), kwargs) if args else (args, {**kwargs, key: h})

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        h = output if isinstance(output, Tensor) else output[0]
        found.append(as_tokens(h, layout)[0].clone())

    model.get_submodule(stack.blocks[-1]).register_forward_hook(keep)
    with torch.no_grad():
        calm_outputs(model, family.inputs())
        model.get_submodule(stack.blocks[0]).register_forward_pre_hook(disturb, with_kwargs=True)
        calm_outputs(model, family.inputs())
    before, after = found[0], found[-1]
    assert not torch.equal(before[-1], after[-1]), "it was disturbed"
    return torch.allclose(before[:-1], after[:-1], atol=1e-6)


def stacks_of(*names: str) -> dict[str, Anatomy]:
    return {name: ZOO[name].anatomy() for name in names}


def test_the_sites_of_a_causal_stack_are() -> None:
    bart, bert, gpt2 = stacks_of("bart", "bert", "gpt2").values()
    assert not any(site.causal for site in bert.sites)
    assert all(site.causal for site in gpt2.sites)
    other = ("cross_attn.k", "cross_attn.v", "cross_attn.kv")  # they are made of what the encoder returns
    assert {site.name for site in bart.sites if site.stack == "decoder" and not site.causal} == {*other}
    assert not any(site.causal for site in bart.sites if site.stack == "encoder")


@pytest.mark.parametrize(
    ("name", "path", "causal"),
    [
        ("gpt2", "h.1.mlp", True),
        ("gpt2", "wte", True),  # outside the blocks, as the nearest stack
        ("bart", "decoder.layers.0.fc2", True),
        ("bart", "decoder.layernorm_embedding", True),
        ("bart", "encoder.layernorm_embedding", False),
        ("bart", "shared", True),  # of both
        ("bert", "pooler.dense", False),
        ("clip", "vision_model.post_layernorm", False),
    ],
)
def test_paths_are_as_the_stack_around_them(name: str, path: str, causal: bool) -> None:
    (site,) = select(ZOO[name].anatomy(), [f"path:{path}"])
    assert site.causal == causal


class Own(nn.Module):
    """A stack of one's own, whose attention says that it is causal, or says nothing."""

    def __init__(self, says: bool | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2))
        for layer in self.layers:
            if says is not None:
                layer.self_attn.is_causal = says

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.mark.parametrize(("says", "causal"), [(True, True), (False, False), (None, False)])
def test_a_model_of_ones_own_says_so(says: bool | None, causal: bool) -> None:
    (stack,) = study(Own(says)).stacks
    assert stack.causal == causal
