"""Every fusion in a whole model: batches, absent modalities, learning, freezing, costs, and back from an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adaptkit.artifact import load_artifact
from adaptkit.kinds import FUSIONS
from adaptkit.model import AdaptedModel, build_model
from adaptkit.model.costing import cost
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe, parse_recipe
from adaptkit.training import train

SMALL: dict[str, dict[str, Any]] = {
    "concat": {},
    "gmu": {"width": 8},
    "low_rank": {"width": 8, "rank": 2},
    "tensor": {"width": 3},
    "cross_modal": {"width": 8, "heads": 2, "layers": 1, "self_layers": 1, "embed_dropout": 0.5},
}


def tables(folder: Path, kind: str, **more: Any) -> dict[str, Any]:
    features = {"kind": "features", "route": "fusion", "missing": "zero"}
    return {
        "name": "fused",
        "backbone": {"model": str(folder)},
        "modality": {
            "sound": features | {"width": 5, "max_tokens": 3},
            "poster": features | {"width": 4, "pool": "mean"},
            "question": {"kind": "text", "route": "backbone"},
        },
        "fusion": {"kind": kind, **SMALL[kind], **more},
        "data": {"format": "jsonl"},
        "task": {"answer": {"kind": "classification", "labels": ["no", "yes"], "head": {"kind": "residual"}}},
    }


def built(folder: Path, kind: str, **more: Any) -> AdaptedModel:
    return build_model(make_plan(parse_recipe(tables(folder, kind, **more))), seed=2)


SAMPLES = [
    ("is the thing big ?", [1.0, 2.0, 3.0, 4.0], [[1.0, 0.0, 0.0, 2.0, 1.0], [0.0, 1.0, 0.0, 5.0, 1.0]]),
    ("is it red ?", [0.0, 1.0, 0.0, 1.0], None),
    ("is the thing a small red thing ?", None, [[2.0, 1.0, 1.0, 0.0, 3.0]]),
]


def batch(model: AdaptedModel, samples: list[tuple[Any, ...]]) -> dict[str, dict[str, Tensor]]:
    encoders, ids = dict(model.named_encoders()), [str(i) for i in range(len(samples))]
    columns = zip(("question", "poster", "sound"), zip(*samples, strict=True), strict=True)
    return {name: encoders[name].collate([encoders[name].prepare(v, "") for v in c], ids) for name, c in columns}


def test_every_kind_is_tried() -> None:
    assert SMALL.keys() == FUSIONS.kinds.keys()


@pytest.mark.parametrize("kind", SMALL)
def test_a_sample_is_the_same_alone_and_in_any_batch(tiny_bert: Path, kind: str) -> None:
    model = built(tiny_bert, kind)
    together = model(batch(model, SAMPLES))["answer"]
    for index, sample in enumerate(SAMPLES):
        torch.testing.assert_close(model(batch(model, [sample]))["answer"][0], together[index], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", SMALL)
def test_dropping_a_modality_is_its_absence(tiny_bert: Path, kind: str) -> None:
    model = built(tiny_bert, kind)
    dropped = model(batch(model, SAMPLES), drop=("sound",))["answer"]
    absent = model(batch(model, [(text, poster, None) for text, poster, _ in SAMPLES]))["answer"]
    torch.testing.assert_close(dropped, absent, rtol=1e-4, atol=1e-5)
    assert (dropped - model(batch(model, SAMPLES))["answer"]).abs().max() > 1e-4


@pytest.mark.parametrize("kind", SMALL)
def test_the_modalities_are_learned_from(tiny_bert: Path, kind: str) -> None:
    """What the text does not tell is in the poster: a frozen backbone with a fusion learns to tell it."""
    torch.manual_seed(0)
    model = built(tiny_bert, kind).train()
    samples = [("is it big ?", [float(big), -1.0, 0.5, 1.0], [[0.1] * 5]) for big in (0, 1)]
    inputs, goal = batch(model, samples), torch.tensor([0, 1])
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs)["answer"], goal).backward()
        optimizer.step()
    assert model.eval()(inputs)["answer"].argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize("kind", SMALL)
def test_the_plan_counts_what_there_is(tiny_bert: Path, kind: str) -> None:
    for trains in (True, False):
        plan = make_plan(parse_recipe(tables(tiny_bert, kind, train=trains)))
        model = build_model(plan)
        assert sum(p.numel() for p in model.parameters()) == plan.parameters.total
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == plan.parameters.trainable
        assert sum(p.numel() for p in model.join.parameters()) == plan.parameters.fusion
    assert cost(plan).flops.forward > 0


def test_what_is_frozen_has_no_dropout(tiny_bert: Path) -> None:
    frozen, free = (built(tiny_bert, "cross_modal", train=trains).train() for trains in (False, True))
    assert not any(module.training for module in frozen.join.modules())
    assert all(module.training for module in free.join.modules())
    assert free.heads["answer"].training


def test_a_fusion_is_part_of_the_artifact(tiny_recipe: Path) -> None:
    changes = ["adapter={}", "modality.features.route=fusion", "fusion={kind='gmu', width=4}", "train.epochs=1"]
    run = train(load_recipe(tiny_recipe, changes), runs=tiny_recipe.parent / "runs").run
    names = {name.rpartition(".")[0] for name in load_artifact(run).trainable_state()}
    norms = {"join.norms.backbone", "join.norms.features"}
    assert names == {"join.hidden.backbone", "join.hidden.features", "join.gate", "heads.answer"} | norms
