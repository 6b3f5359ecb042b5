"""`[data] drop`: a modality that is absent everywhere, in training, evaluation and prediction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from adaptkit.errors import DataError, UsageError
from adaptkit.evaluation import evaluate, predict
from adaptkit.evaluation.material import droppable, gather
from adaptkit.model import build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe
from adaptkit.training import train

DROP = ("data.drop=['features']",)


@pytest.fixture
def without_column(tiny_recipe: Path, tiny_data: Path, tmp_path: Path) -> Path:
    """The tiny recipe with data that has no column `features` at all."""
    for split in ("train", "validation", "test"):
        rows = [json.loads(line) for line in (tiny_data / f"{split}.jsonl").read_text().splitlines()]
        kept = [json.dumps({key: value for key, value in row.items() if key != "features"}) for row in rows]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(kept) + "\n")
    path = tmp_path / "twin.toml"
    path.write_text(tiny_recipe.read_text().replace(tiny_data.as_posix(), tmp_path.as_posix()))
    return path


def test_a_dropped_modality_says_nothing(tiny_recipe: Path) -> None:
    """As if left out by `drop` in the forward; but the samples are not even read."""
    plan = make_plan(load_recipe(tiny_recipe, DROP))
    model = build_model(plan, seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
    dropped, whole = gather(plan), gather(make_plan(load_recipe(tiny_recipe)))
    few = {"dropped": dropped.data.splits["test"][:5], "whole": whole.data.splits["test"][:5]}
    assert not any(sample.inputs.get("features") for sample in few["dropped"])
    absent = dropped.collate(model)(few["dropped"])["inputs"]
    assert not absent["features"]["present"].any()
    from adaptkit.data.collate import Collator

    there = Collator(model.encoders, whole.tasks)(few["whole"])["inputs"]  # type: ignore[arg-type]
    assert there["features"]["present"].all()
    expected = model(there, drop=["features"])["answer"]
    torch.testing.assert_close(model(absent)["answer"], expected)
    assert (model(there)["answer"] - expected).abs().max() > 1e-3


@pytest.mark.parametrize("missing", ["error", "zero", "learned"])
def test_a_whole_run_without_the_column(without_column: Path, tmp_path: Path, missing: str) -> None:
    with pytest.raises(DataError, match="features"):
        gather(make_plan(load_recipe(without_column)))
    sets = (*DROP, f"modality.features.missing='{missing}'", "train.epochs=1")
    result = train(load_recipe(without_column, sets), runs=tmp_path / "runs")
    found = evaluate(result.run, device="cpu")
    assert found.metrics["test"]["loss"] is not None
    assert found.ablations == {}
    assert predict(result.run, tmp_path / "test.jsonl", tmp_path / "out.jsonl") == 16
    with pytest.raises(UsageError, match=r"'features' is absent in every sample already, by the recipe's data\.drop"):
        evaluate(result.run, drop=["features"])
    with pytest.raises(UsageError, match="no modality that can be left out"):
        evaluate(result.run, robustness=["all"])


def test_a_dropped_table_needs_no_means(without_column: Path) -> None:
    text = without_column.read_text().replace(
        'kind = "features"\nwidth = 4', 'kind = "table"\ncolumns = ["one", "two"]'
    )
    without_column.write_text(text)
    plan = make_plan(load_recipe(without_column, DROP))
    model, material = build_model(plan), gather(plan)
    batch = material.collate(model)(material.data.splits["test"][:3])
    assert model(batch["inputs"])["answer"].isfinite().all()
    assert droppable(plan) == ()
