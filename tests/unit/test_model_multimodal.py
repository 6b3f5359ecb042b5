"""Multimodal adapters in a whole model: spans of the stream, cross-attention, MAG, and adapters that are combined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe

AT = ["mlp.out"]
SPANS = ["span:poster", "span:question"]
ONE = {"kind": "bottleneck", "at": AT, "bottleneck": 2}
TWO = {"kind": "gmu", "at": AT, "sides": ["clip"], "bottleneck": 3}
BOTH = {"at": AT, "sides": ["adapter:one", "adapter:two"]}
CP = {"kind": "wander", "rank": 3, "drank": 2, "trank": 2}

ADAPTERS: dict[str, dict[str, dict[str, Any]]] = {
    "gmu_of_a_span": {"a": {"kind": "gmu", "at": AT, "sides": ["span:poster", "clip"], "bottleneck": 3}},
    "wander_of_spans": {"a": CP | {"at": ["block.out"], "sides": SPANS}},
    "wander_of_spans_and_sides": {"a": CP | {"at": ["block.out"], "sides": [*SPANS, "clip"]}},
    "attention_to_a_span": {"a": {"kind": "cross_attention", "at": AT, "sides": ["span:poster", "clip"], "heads": 2}},
    "spans_at_fusion": {"a": {"kind": "cross_attention", "at": "fusion", "sides": SPANS, "heads": 2}},
    "mag": {"a": {"kind": "mag", "at": ["block.out"], "layers": [0], "sides": ["clip"]}},
    "fusion": {"one": ONE, "two": TWO, "a": BOTH | {"kind": "adapter_fusion"}},
    "gated_fusion": {"one": ONE, "two": TWO, "a": BOTH | {"kind": "adapter_fusion", "form": "gmu", "bottleneck": 3}},
    "sum": {"one": ONE, "two": TWO, "a": BOTH | {"kind": "parallel"}},
    "sum_at_fusion": {
        "one": ONE | {"at": "fusion"},
        "two": TWO | {"at": "fusion"},
        "a": BOTH | {"kind": "parallel", "at": "fusion", "weights": "learned"},
    },
}


def tables(folder: Path, adapters: dict[str, dict[str, Any]]) -> dict[str, Any]:
    named = {side for table in adapters.values() for side in table.get("sides", ())}
    clip = {"kind": "features", "width": 5, "route": "side" if "clip" in named else "fusion", "missing": "zero"}
    pool = {"pool": "mean"} if "mag" in (table["kind"] for table in adapters.values()) else {"max_tokens": 3}
    poster = {"kind": "features", "width": 4, "max_tokens": 2, "route": "tokens", "missing": "zero"}
    return {
        "name": "multimodal",
        "backbone": {"model": str(folder), "max_tokens": 12},
        "modality": {"poster": poster, "question": {"kind": "text", "route": "backbone"}, "clip": clip | pool},
        "adapter": adapters,
        "data": {"format": "jsonl"},
        "task": {"answer": {"kind": "classification", "labels": ["no", "yes"]}},
    }


def build(folder: Path, adapters: dict[str, dict[str, Any]]) -> AdaptedModel:
    return build_model(make_plan(parse_recipe(tables(folder, adapters))), seed=3).eval()


def batch(model: AdaptedModel, samples: list[tuple[str, Any, Any]]) -> dict[str, dict[str, Tensor]]:
    encoders = dict(model.named_encoders())
    ids = [str(i) for i in range(len(samples))]
    columns = dict(zip(("question", "poster", "clip"), zip(*samples, strict=True), strict=True))
    prepared = {
        name: [value if name == "question" else encoders[name].prepare(value, "here") for value in column]
        for name, column in columns.items()
    }
    return {name: encoders[name].collate(values, ids) for name, values in prepared.items()}


SAMPLES = [
    ("is the thing big ?", [[1.0, 2.0, 3.0, 4.0]], [[1.0, 0.0, 0.0, 2.0, 1.0], [0.0, 1.0, 0.0, 5.0, 1.0]]),
    ("is it red ?", [[0.0, 1.0, 0.0, 1.0], [3.0, 0.0, 1.0, 0.0]], None),
    ("is the thing a small red thing ?", None, [[2.0, 1.0, 1.0, 0.0, 3.0]]),
]


def learning(model: AdaptedModel) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad and ".adapters." in f".{name}"}


@pytest.mark.parametrize("adapters", ADAPTERS.values(), ids=ADAPTERS)
def test_a_sample_is_the_same_alone_and_in_any_batch(tiny_bert: Path, adapters: dict[str, Any]) -> None:
    """Neither the padding of other samples nor their absent modalities show; and the adapters do something."""
    model = build(tiny_bert, adapters)
    fresh = model(batch(model, SAMPLES))["answer"]
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in learning(model).values():
            parameter.add_(0.5 * torch.randn(parameter.shape))
    together = model(batch(model, SAMPLES))["answer"]
    assert (together - fresh).abs().max() > 1e-4
    for index, sample in enumerate(SAMPLES):
        alone = model(batch(model, [sample]))["answer"]
        torch.testing.assert_close(alone[0], together[index], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("adapters", ADAPTERS.values(), ids=ADAPTERS)
def test_every_adapter_parameter_learns(tiny_bert: Path, adapters: dict[str, Any]) -> None:
    model = build(tiny_bert, adapters)
    optimizer = torch.optim.AdamW(learning(model).values(), lr=0.05)
    goal = torch.tensor([0, 1, 1])
    moved: set[str] = set()
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch(model, SAMPLES))["answer"], goal).backward()
        moved |= {n for n, p in learning(model).items() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    assert moved == set(learning(model))


def test_a_combination_sees_the_same_stream_as_its_members(tiny_bert: Path) -> None:
    """The sum of two adapters is neither of them after the other."""
    together = build(tiny_bert, ADAPTERS["sum"])
    one_after_the_other = build(tiny_bert, {"one": ONE, "two": TWO})
    values = {name: torch.randn(p.shape) for name, p in learning(together).items()}
    assert values.keys() == learning(one_after_the_other).keys()
    results = []
    for model in (together, one_after_the_other):
        with torch.no_grad():
            for name, parameter in learning(model).items():
                parameter.copy_(values[name])
        results.append(model(batch(model, SAMPLES))["answer"])
    assert (results[0] - results[1]).abs().max() > 1e-3
