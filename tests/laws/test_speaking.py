"""The laws of models that speak: in training a word is scored exactly as in a generation, alone or in a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adaptkit.formats.records import read_records
from adaptkit.model import AdaptedModel, build_model
from adaptkit.model.tasks import build_tasks
from adaptkit.plan import make_plan
from adaptkit.recipe import Recipe
from tests.unit.generation.speaking import BACKBONES, GMU, SAMPLES, speaking

WORDS = 5  # that are generated
PROMPT = {"kind": "prompt", "length": 2}
ADAPTERS: dict[str, dict[str, Any]] = {
    "side-gmu": GMU,
    "side-wander": {"w": {"kind": "wander", "at": ["mlp.out"], "sides": ["features"], "rank": 2, "drank": 2}},
    "side-both": {**GMU, "soft": {**PROMPT, "at": ["embed.in"]}},
    "tokens-prefix": {"p": {"kind": "prefix", "at": ["attn.kv"], "length": 2}},
    "tokens-lora": {"l": {"kind": "lora", "at": ["attn.q", "attn.v"], "rank": 2}},
}


def recipe_of(backbone: str, name: str, tokenizer: Path) -> Recipe:
    route, _, _ = name.partition("-")
    adapters = {key: dict(table) for key, table in ADAPTERS[name].items()}
    if BACKBONES[backbone].get("d_model") and "soft" in adapters:
        adapters["soft"]["at"] = ["encoder.embed.in"]
    return speaking(backbone, tokenizer, route=route, adapter=adapters)


def shaken(recipe: Recipe) -> AdaptedModel:
    """With adapters and a backbone that do something."""
    model = build_model(make_plan(recipe))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def collated(model: AdaptedModel, rows: slice = slice(None)) -> dict[str, dict[str, Tensor]]:
    samples = list(read_records(model.plan.recipe, SAMPLES[rows]))
    return {
        name: encoder.collate([encoder.prepare(s.inputs[name], "") for s in samples], [s.id for s in samples])
        for name, encoder in model.named_encoders()
    }


def said(model: AdaptedModel, inputs: Any, **settings: Any) -> Tensor:
    """(B, K, A) ids."""
    with torch.no_grad():
        return model.generate_ids(inputs, "answer", {"max_new_tokens": WORDS, "pad_token_id": 0, **settings}).ids


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_word_is_scored_as_it_is_generated(backbone: str, name: str, tiny_bert: Path) -> None:
    model = shaken(recipe_of(backbone, name, tiny_bert))
    inputs = collated(model)
    ids = said(model, inputs)[:, 0]  # (B, A): greedy, with a cache
    with torch.no_grad():
        logits = model(inputs, targets={"answer": {"labels": ids}})["answer"]  # (B, A, V), in one pass
    assert torch.equal(logits.argmax(-1), ids)
    for row in range(len(SAMPLES)):  # alone: no padding, and nobody else's sides
        alone = collated(model, slice(row, row + 1))
        assert torch.equal(said(model, alone)[:, 0], ids[row : row + 1])
        with torch.no_grad():
            own = model(alone, targets={"answer": {"labels": ids[row : row + 1]}})["answer"]
        assert torch.allclose(own, logits[row : row + 1], atol=2e-5)
    assert torch.equal(said(model, inputs, use_cache=False)[:, 0], ids)


@pytest.mark.parametrize("name", ["side-gmu", "side-wander", "tokens-prefix"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_beams_of_a_batch_are_those_of_each_sample(backbone: str, name: str, tiny_bert: Path) -> None:
    model = shaken(recipe_of(backbone, name, tiny_bert))
    beams = {"num_beams": 3, "num_return_sequences": 2}
    together = said(model, collated(model), **beams)
    assert together.shape == (len(SAMPLES), 2, WORDS)
    for row in range(len(SAMPLES)):
        assert torch.equal(said(model, collated(model, slice(row, row + 1)), **beams)[0], together[row])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_side_is_heard(backbone: str, tiny_bert: Path) -> None:
    model = shaken(recipe_of(backbone, "side-gmu", tiny_bert))
    inputs, ids = collated(model), torch.full((len(SAMPLES), 2), 7)
    with torch.no_grad():
        whole = model(inputs, targets={"answer": {"labels": ids}})["answer"]
        inputs["features"]["values"] = inputs["features"]["values"].roll(1, -1) * 3
        assert not torch.allclose(model(inputs, targets={"answer": {"labels": ids}})["answer"], whole, atol=1e-3)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_loss_is_of_the_answer_alone(backbone: str, tiny_bert: Path) -> None:
    """Neither the prompt, nor padding, nor the longer answers of others count."""
    model = shaken(recipe_of(backbone, "side-gmu", tiny_bert))
    task = build_tasks(model.plan, None)["answer"]
    answers = ["big", "small red blue the", "a", {"red": 0.5, "blue": 0.25}]
    with torch.no_grad():
        targets = task.encode(answers, [""] * 4)
        whole = task.loss(model(collated(model), targets={"answer": targets})["answer"], targets)
        each = []
        for row in range(4):
            target = task.encode(answers[row : row + 1], [""])
            logits = model(collated(model, slice(row, row + 1)), targets={"answer": target})["answer"]
            assert logits.shape[1] == target["labels"].shape[1]
            each.append(task.loss(logits, target))
    assert torch.allclose(whole, torch.stack(each).mean(), atol=1e-5)
    ends = [int(row[row >= 0][-1]) for row in targets["labels"]]
    assert ends == [3] * 4, "the end is a label"


@pytest.mark.parametrize("backbone", ["gpt2", "t5", "llama"])
def test_the_backbone_is_what_it_is_for_other_tasks(backbone: str, tiny_bert: Path) -> None:
    """The same sites under the same names; the head is counted once where it is tied."""
    recipe = recipe_of(backbone, "side-gmu", tiny_bert)
    keys = recipe.model_dump(by_alias=True, exclude_none=True)
    other = type(recipe).model_validate({**keys, "task": {"answer": {"kind": "regression"}}})
    plan, plain = make_plan(recipe), make_plan(other)
    places = [(g.site.full_name, g.site.layer, g.parameters) for g in plan.grafts]
    assert places == [(g.site.full_name, g.site.layer, g.parameters) for g in plain.grafts]
    untied = 0 if backbone != "llama" else 15 * 32
    assert plan.parameters.backbone - plain.parameters.backbone == untied
    model = build_model(plan)
    assert sum(p.numel() for p in model.parameters()) == plan.parameters.total
    kept = {id(tensor) for tensor in model.trainable_state().values()}
    assert len(kept) == len(model.trainable_state())
