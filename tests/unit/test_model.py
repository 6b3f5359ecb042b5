"""The adapted model: routes, absent modalities, pools, what is frozen, what is saved."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adaptkit.anatomy import fingerprint
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel, build_model
from adaptkit.model.adapted import Represented
from adaptkit.plan import make_plan
from adaptkit.pooling import POOLS
from adaptkit.recipe import parse_recipe
from adaptkit.sides import Side
from adaptkit.surgery import remove

GMU = {"fuse": {"kind": "gmu", "at": ["mlp.out"], "sides": ["poster"], "bottleneck": 3}}


def tables(folder: Path, *, route: str = "side", adapter: dict[str, Any] | None = None, **more: Any) -> dict:
    poster = {"kind": "features", "width": 4, "max_tokens": 2, "route": route, "missing": "zero"}
    return {
        "schema": 1,
        "name": "model",
        "backbone": {"model": str(folder), "max_tokens": 12, **more.pop("backbone", {})},
        "modality": {"question": {"kind": "text", "route": "backbone"}, "poster": poster | more.pop("poster", {})},
        "adapter": GMU if adapter is None else adapter,
        "data": {"format": "jsonl"},
        "task": {"answer": {"kind": "classification", "labels": ["no", "yes"], **more.pop("task", {})}},
        "train": more,
    }


def build(folder: Path, **settings: Any) -> AdaptedModel:
    return build_model(make_plan(parse_recipe(tables(folder, **settings))), seed=3)


def batch(
    model: AdaptedModel, texts: list[str], posters: list[list[list[float]] | None]
) -> dict[str, dict[str, Tensor]]:
    encoders = dict(model.named_encoders())
    ids = [str(i) for i in range(len(texts))]
    prepared = [encoders["poster"].prepare(None if p is None else p, "here") for p in posters]
    return {
        "question": encoders["question"].collate(texts, ids),
        "poster": encoders["poster"].collate(prepared, ids),
    }


def stirred(model: AdaptedModel) -> AdaptedModel:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


ONE, TWO = [[1.0, 2.0, 3.0, 4.0]], [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 5.0]]
WANDER = {"w": {"kind": "wander", "at": ["mlp.out"], "sides": ["poster"], "rank": 3, "drank": 2, "trank": 2}}
# As many tokens as one of the texts has with its two special ones: the length must not be taken for that text's.
AT_FUSION = {"w": {"kind": "wander", "at": "fusion", "sides": ["poster"], "rank": 3, "drank": 2, "out_tokens": 6}}
BOTTLENECK = {"b": {"kind": "bottleneck", "at": ["mlp.out"], "bottleneck": 2}}
ROUTES = [
    ("side", GMU),
    ("side", WANDER),
    ("tokens", BOTTLENECK),
    ("fusion", BOTTLENECK),
    ("fusion", GMU | {"fuse": GMU["fuse"] | {"at": ["fusion"]}}),
    ("fusion", AT_FUSION),
]


@pytest.mark.parametrize(("route", "adapter"), ROUTES)
def test_a_sample_is_the_same_alone_and_in_any_batch(tiny_bert: Path, route: str, adapter: dict) -> None:
    """Padding of text and of sequences, and absent neighbours, must not show."""
    model = stirred(build(tiny_bert, route=route, adapter=adapter))
    with torch.no_grad():
        together = model(batch(model, ["is it big ?", "red", "the thing is small ?"], [ONE, TWO, None]))["answer"]
        alone = [
            model(batch(model, [text], [poster]))["answer"]
            for text, poster in (("is it big ?", ONE), ("red", TWO), ("the thing is small ?", None))
        ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("route", "adapter"), ROUTES)
def test_the_modality_matters_and_dropping_it_is_absence(tiny_bert: Path, route: str, adapter: dict) -> None:
    model = stirred(build(tiny_bert, route=route, adapter=adapter))
    with torch.no_grad():
        with_one = model(batch(model, ["is it big ?"], [ONE]))["answer"]
        with_two = model(batch(model, ["is it big ?"], [TWO]))["answer"]
        absent = model(batch(model, ["is it big ?"], [None]))["answer"]
        dropped = model(batch(model, ["is it big ?"], [TWO]), drop=["poster"])["answer"]
    assert not torch.allclose(with_one, with_two, atol=1e-4)
    assert not torch.allclose(with_two, absent, atol=1e-4)
    torch.testing.assert_close(dropped, absent)


@pytest.mark.parametrize(("route", "adapter"), ROUTES)
def test_everything_trainable_learns_and_the_backbone_stays(tiny_bert: Path, route: str, adapter: dict) -> None:
    model = build(tiny_bert, route=route, adapter=adapter).train()
    before = fingerprint(model.backbone)
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in own.values()) == model.plan.parameters.trainable
    assert sum(p.numel() for p in model.parameters()) == model.plan.parameters.total
    optimizer = torch.optim.Adam(own.values(), lr=1e-2)
    inputs, moved = batch(model, ["is it big ?", "red"], [ONE, TWO]), set()
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs)["answer"], torch.tensor([0, 1])).backward()
        moved |= {name for name, p in own.items() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    assert moved == own.keys()
    assert fingerprint(model.backbone) == before


def test_training_mode_is_deterministic_unless_dropout_is_kept(tiny_bert: Path) -> None:
    for setting, same in (("off", True), ("keep", False)):
        model = build(tiny_bert, backbone={"dropout": setting}).train()
        inputs = batch(model, ["is it big ?", "red"], [ONE, TWO])
        assert torch.equal(model(inputs)["answer"], model(inputs)["answer"]) is same


def test_gradient_checkpointing_gives_the_same_gradients(tiny_bert: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = stirred(build(tiny_bert))
        if checkpointing:
            model.enable_gradient_checkpointing()
        model.train()
        assert (
            any(m.training for m in model.backbone.modules() if hasattr(m, "gradient_checkpointing")) is checkpointing
        )
        model(batch(model, ["is it big ?", "red"], [ONE, TWO]))["answer"].square().sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(g, gradients[1][n], atol=1e-6) for n, g in gradients[0].items())


@pytest.mark.parametrize("pool", [*(p for p in POOLS if p != "flatten"), "pooler"])
def test_pools(tiny_bert: Path, pool: str) -> None:
    model = build(tiny_bert, backbone={"pool": pool})
    with torch.no_grad():
        assert model(batch(model, ["is it big ?", "red"], [ONE, None]))["answer"].isfinite().all()


def test_the_first_token_is_the_first_that_counts(tiny_bert: Path) -> None:
    """Where the modality before the text is absent, that is the text's [CLS], not the padding in front of it."""
    model = build(tiny_bert, route="tokens", adapter=BOTTLENECK, backbone={"pool": "first"})
    seen: list[Tensor] = []
    model.backbone.register_forward_hook(lambda module, args, output: seen.append(output.last_hidden_state))
    with torch.no_grad():
        found = model(batch(model, ["is it big ?", "red"], [ONE, None]))["answer"]
        expected = model.heads["answer"](torch.stack([seen[0][0, 0], seen[0][1, 2]]))
    assert torch.equal(found, expected)


def test_the_query_of_a_retrieval_is_the_mean_of_what_counts(tiny_bert: Path) -> None:
    recipe = tables(tiny_bert, route="query", adapter=BOTTLENECK)
    recipe["task"] = {"find": {"kind": "retrieval", "query": "poster", "width": 3}}
    model = build_model(make_plan(parse_recipe(recipe)), seed=3)
    mask = torch.tensor([[True, False], [False, True]])
    vectors, tokens = torch.randn(2, 16), torch.randn(2, 2, 4)
    answers = []
    for padding in (0.0, torch.nan):
        side = Side(torch.where(mask[..., None], tokens, padding), mask, mask.any(1))
        answers.append(model.answer("find", Represented(vectors, {"poster": side})))
    assert torch.equal(*answers)
    query = torch.stack([tokens[0, 0], tokens[1, 1]])
    torch.testing.assert_close(answers[0], model.heads["find"](vectors, query))


def test_state_goes_out_and_comes_back(tiny_bert: Path) -> None:
    settings = {"backbone": {"train": ["norm"]}, "poster": {"missing": "learned"}}
    model = stirred(build(tiny_bert, **settings))
    state = {name: value.clone() for name, value in model.trainable_state().items()}
    assert "encoders.poster.fill" in state
    assert any(name.endswith("LayerNorm.weight") for name in state)
    assert not any("word_embeddings" in name for name in state)
    other = build(tiny_bert, **settings)
    inputs = batch(model, ["is it big ?", "red"], [ONE, None])
    with torch.no_grad():
        assert not torch.equal(other(inputs)["answer"], model(inputs)["answer"])
        other.load_trainable_state(state)
        assert torch.equal(other(inputs)["answer"], model(inputs)["answer"])
    name = next(iter(state))
    for wrong in (
        {k: v for k, v in state.items() if k != name},
        state | {"x": state[name]},
        state | {name: torch.ones(1, 9)},
    ):
        with pytest.raises(ArtifactError):
            other.load_trainable_state(wrong)


def test_the_receipt_gives_the_backbone_back(tiny_bert: Path) -> None:
    from transformers import AutoModel

    model = stirred(build(tiny_bert))
    twin = copy.deepcopy(model)
    remove(twin.backbone, twin.receipt)
    plain = AutoModel.from_pretrained(tiny_bert)
    assert list(twin.backbone.state_dict()) == list(plain.state_dict())
    assert fingerprint(twin.backbone) == fingerprint(plain.eval()) == fingerprint(model.backbone)


def test_the_seed_decides_all_new_parameters(tiny_bert: Path) -> None:
    plan = make_plan(parse_recipe(tables(tiny_bert)))
    states = [build_model(plan, seed=seed).trainable_state() for seed in (1, 1, 2)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert any(not torch.equal(value, states[2][name]) for name, value in states[0].items())
