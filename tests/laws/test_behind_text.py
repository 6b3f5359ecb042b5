"""`tokens = "behind"`: in every family with an encoder and a decoder, what stands behind a text has no position."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adaptkit import sides
from adaptkit.anatomy import input_spec, study
from adaptkit.anatomy.calling.forward import Prefix, prepare
from adaptkit.anatomy.loading.resolve import resolve
from adaptkit.errors import RecipeError
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe
from adaptkit.surgery.behind import make_room
from tests.laws.families import FAMILIES as FIRST
from tests.laws.zoo_text import ENCODER_DECODERS
from tests.laws.zoo_text import FAMILIES as ZOO

# B batch, L words, N tokens behind them, D width

WINDOWED = ["bigbird_pegasus", "led", "longt5", "pegasus_x"]  # refused, as below
WITHOUT_VECTORS = ["fsmt"]  # takes ids alone
LEFT_OUT = {*WINDOWED, *WITHOUT_VECTORS}
KNOWN = [f for f in (*FIRST.values(), *ZOO) if f.name in {*ENCODER_DECODERS, "bart", "t5"} - LEFT_OUT]


def states(model: Any, words: dict[str, Tensor], behind: Tensor, mask: Tensor) -> Tensor:
    """(B, L + N, D) of the encoder."""
    spec = input_spec(model, resolve("bart-base"))
    call = prepare(model, spec, {"text": words}, Prefix(behind, mask, behind=True))
    with torch.no_grad(), sides.use_sides({}, call.masks, behind=call.behind):
        given = {key: call.inputs[key] for key in ("inputs_embeds", "attention_mask")}
        return model.get_encoder()(**given).last_hidden_state


@pytest.mark.parametrize("family", KNOWN, ids=lambda family: family.name)
def test_what_stands_behind_a_text_has_no_position(family: Any) -> None:
    model = family.fresh()
    stack = study(model, name=family.name).stacks[0]
    make_room(model, stack)
    given = family.inputs()
    words = {"input_ids": given["input_ids"], "attention_mask": torch.ones_like(given["input_ids"])}
    torch.manual_seed(0)
    behind = torch.randn(len(given["input_ids"]), 2, model.get_input_embeddings().embedding_dim)
    mask = torch.ones(behind.shape[:2], dtype=torch.bool)
    found = states(model, words, behind, mask)
    turned = states(model, words, behind.flip(1), mask)
    torch.testing.assert_close(turned[:, :-2], found[:, :-2], rtol=0, atol=1e-5)
    torch.testing.assert_close(turned[:, -2:], found[:, -2:].flip(1), rtol=0, atol=1e-5)
    another = torch.randn_like(behind)
    other = states(model, words, another, mask)
    assert float((other - found)[:, :-2].abs().max()) > 1e-4, "the words see it"
    masked = states(model, words, another, ~mask), states(model, words, behind, ~mask)
    torch.testing.assert_close(masked[0][:, :-2], masked[1][:, :-2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", [*WINDOWED, "gpt2"])
def test_a_backbone_in_which_everything_has_a_position_is_refused(model: str) -> None:
    recipe = parse_recipe(
        {
            "name": "behind",
            "backbone": {
                "model": model,
                "config": {},
                "tokenizer": "bart-base",
                "tokens": "behind",
            },
            "modality": {
                "words": {"kind": "text", "route": "backbone"},
                "image": {"kind": "features", "width": 4, "max_tokens": 4, "route": "tokens"},
            },
            "data": {"format": "jsonl"},
            "task": {"answer": {"kind": "classification", "labels": ["no", "yes"]}},
        }
    )
    with pytest.raises(RecipeError, match="attends within windows" if model in WINDOWED else "gpt2 has none"):
        make_plan(recipe)
