"""Models that read each other's blocks: both run in step, and each reads what the other's block returned."""

from __future__ import annotations

import copy
import re
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adaptkit import sides
from adaptkit.anatomy.bare import bare
from adaptkit.errors import RecipeError, SiteError
from adaptkit.model import AdaptedModel
from adaptkit.model.costing import cost
from adaptkit.model.exchange import Exchange
from adaptkit.sides import Side, Sides
from adaptkit.surgery.hooks import adapters_of
from tests.unit.test_towers import BACK, DEEP, GMU, POSTERS, SOUNDS, TEXTS, TO_POSTER, TO_SOUND, batch, build, stirred

# B batch, T tokens, D width

BOTH = {"d": DEEP, "b": BACK}


@pytest.fixture(scope="module")
def model(tiny_bert: Path) -> AdaptedModel:
    """Poster tower and backbone, two layers each, that read each other at every layer."""
    return stirred(build(tiny_bert, BOTH, tower={"config": {**SHALLOW}}))


SHALLOW = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 16,
    "patch_size": 8,
}


def answer(model: AdaptedModel, inputs: Any) -> Tensor:
    return model(inputs)["answer"]


def read(adapter: Any, h: Tensor, name: str, other: Tensor) -> Tensor:
    given = Sides({name: Side.of(other)})
    return adapter(h, h, given)


def test_every_layer_reads_what_the_same_layer_of_the_other_returned(model: AdaptedModel) -> None:
    """Against the two stacks run by hand, layer by layer."""
    inputs = batch(model, ["is it big ?"] * 2, [1, 2], [2, 5])
    tower, text = model.towers["poster"], model.backbone
    up = [adapters_of(layer)["d"] for layer in text.encoder.layer]
    down = [adapters_of(layer)["b"] for layer in tower.layers]
    seen: list[Tensor] = []
    handle = text.register_forward_hook(lambda *parts: seen.append(parts[2].last_hidden_state))
    with torch.no_grad():
        expected = answer(model, inputs)
    handle.remove()
    with torch.no_grad(), bare(text), bare(tower):
        h = text.embeddings(inputs["question"]["input_ids"])
        v = tower.embeddings(inputs["poster"]["pixel_values"])
        for layer in range(2):
            h_back, v_back = text.encoder.layer[layer](h), tower.layers[layer](v)
            h, v = (
                read(up[layer], h_back, "poster_block_out", v_back),
                read(down[layer], v_back, "backbone_block_out", h_back),
            )
    torch.testing.assert_close(seen[0], h, rtol=1e-5, atol=1e-5)
    assert torch.equal(answer(model, inputs).detach(), expected)


def test_both_learn_through_each_other_and_checkpointing_changes_no_gradient(tiny_bert: Path) -> None:
    # Nobody reads what the tower's last adapter makes: the backbone has what that block returned before it.
    model = stirred(build(tiny_bert, {"d": DEEP, "b": BACK | {"layers": "0..2"}}))
    twin = copy.deepcopy(model)
    twin.enable_gradient_checkpointing()
    inputs = batch(model, TEXTS, POSTERS, SOUNDS)
    for each in (model, twin):
        each.train()
        answer(each, inputs).square().sum().backward()
    for (name, parameter), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        if parameter.requires_grad and "adapters" in name:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
            torch.testing.assert_close(parameter.grad, other.grad)


def test_what_torch_keeps_for_each_thread_holds_in_both(model: AdaptedModel) -> None:
    inputs = batch(model, TEXTS, POSTERS, SOUNDS)
    seen: dict[str, list[Any]] = {}

    def look(name: str, module: nn.Module) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            states = output[0] if isinstance(output, tuple) else output
            seen.setdefault(name, []).append((states.dtype, states.requires_grad, threading.get_ident()))

        return module.register_forward_hook(hook)

    modules = {
        "backbone": adapters_of(model.backbone.encoder.layer[1])["d"].query,
        "tower": adapters_of(model.towers["poster"].layers[1])["b"].down,
    }
    handles = [look(name, module) for name, module in modules.items()]
    try:
        answer(model, inputs)
        with torch.no_grad():
            answer(model, inputs)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            answer(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    for found in seen.values():
        assert [each[:2] for each in found] == [
            (torch.float32, True),
            (torch.float32, False),
            (torch.bfloat16, False),
        ]
    assert {each[2] for each in seen["backbone"]} == {threading.get_ident()}
    assert threading.get_ident() not in {each[2] for each in seen["tower"]}


def test_random_numbers_depend_on_the_seed_alone(tiny_bert: Path) -> None:
    dropping = DEEP | {"dropout": 0.4}
    more = {"poster": {"modality_dropout": 0.5}}
    model = stirred(build(tiny_bert, {"d": dropping, "b": BACK}, **more)).train()
    inputs = batch(model, TEXTS, POSTERS, SOUNDS)

    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return answer(model, inputs)

    found = [drawn(3) for _ in range(5)]
    assert all(torch.equal(found[0], other) for other in found)
    assert any(not torch.equal(found[0], drawn(seed)) for seed in range(4, 9))


@pytest.mark.parametrize("where", ["tower", "backbone"])
def test_an_error_in_one_ends_both(model: AdaptedModel, where: str) -> None:
    broken = copy.deepcopy(model)
    layers = broken.backbone.encoder.layer if where == "backbone" else broken.towers["poster"].layers

    def fail(*_: Any) -> None:
        raise ZeroDivisionError(where)

    layers[1].register_forward_pre_hook(fail)
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError, match=where):
        answer(broken, batch(model, TEXTS, POSTERS, SOUNDS))
    assert threading.active_count() == before
    with pytest.raises(SiteError):  # nothing of that forward is left laid out
        sides.captured("poster:layers.0 as it returned")
    assert torch.isfinite(answer(model, batch(model, TEXTS, POSTERS, SOUNDS))).all()


def test_a_block_that_never_runs_is_an_error_and_not_a_deadlock() -> None:
    def first(blocks: dict[str, Side]) -> None:
        blocks.get("second:1")

    def second(blocks: dict[str, Side]) -> None:
        blocks.get("first:7")

    exchange = Exchange({"first": first, "second": second}, {}, {"first": dict, "second": dict})
    with pytest.raises(SiteError, match="first waits for it"):
        exchange.run()


def test_an_interruption_ends_the_other_threads() -> None:
    def tower(blocks: dict[str, Side]) -> None:
        blocks.get("backbone")

    def backbone(blocks: dict[str, Side]) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        Exchange({"tower": tower, "": backbone}, {}, {"tower": dict, "": dict}).run()
    assert threading.active_count() == before


def test_plan_counts_what_runs_in_step(tiny_bert: Path) -> None:
    one_way, both = build(tiny_bert, {"d": DEEP}), build(tiny_bert, BOTH)
    assert both.plan.order == (("sound",), ("poster", ""))
    assert one_way.plan.order == (("poster",), ("sound",), ("",))
    less, more = cost(one_way.plan), cost(both.plan)
    assert less.flops.forward < more.flops.forward < 2 * less.flops.forward
    assert less.memory.activations < more.memory.activations < 2 * less.memory.activations


def test_torch_export_is_told_why_it_cannot(model: AdaptedModel) -> None:
    with pytest.raises(SiteError, match="run in step"):
        torch.export.export(model, (batch(model, TEXTS, POSTERS, SOUNDS),))


@pytest.mark.skipif(sys.platform == "win32", reason="torch.compile")
def test_torch_compile_says_so_or_leaves_it_to_threads(model: AdaptedModel) -> None:
    inputs = batch(model, TEXTS, POSTERS, SOUNDS)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="run in step"):
        torch.compile(copy.deepcopy(model), backend="eager", fullgraph=True)(inputs)


@pytest.mark.parametrize(
    ("adapters", "message"),
    [
        ({"d": DEEP | {"at": ["mlp.out"]}, "b": BACK | {"at": ["poster.mlp.out"]}}, "wait for each other.*block.out"),
        ({"t": TO_SOUND | {"at": ["poster.mlp.out"]}, "s": TO_POSTER | {"at": ["sound.mlp.out"]}}, "wait for each"),
        ({"g": GMU, "b": BACK}, 'finished vectors.*"poster@block.out"'),
        ({"d": DEEP, "b": BACK | {"sides": ["question@block.out"]}}, '"backbone@block.out"'),
        ({"d": DEEP, "b": BACK | {"sides": ["backbone@mlp.in"]}}, 'no .mlp.in.*"backbone@block.out"'),
        ({"d": DEEP, "e": DEEP | {"sides": ["backbone@block.out"]}}, "backbone@block.out"),
    ],
)
def test_what_cannot_run_in_step_is_told_by_the_plan(tiny_bert: Path, adapters: Any, message: str) -> None:
    more = {} if "poster" in str(adapters.get("d", adapters.get("g"))) else {"poster": {"route": "fusion"}}
    with pytest.raises((SiteError, RecipeError)) as refused:
        build(tiny_bert, adapters, **more)
    first = refused.value.problems[0]
    assert re.search(message, f"{first.message} {first.hint}"), str(refused.value)
