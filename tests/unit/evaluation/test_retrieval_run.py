"""A retrieval task from recipe to predictions: captions are vectors, items are texts."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from adaptkit.artifact import load_artifact
from adaptkit.errors import UsageError
from adaptkit.evaluation import evaluate, predict
from adaptkit.evaluation.material import droppable
from adaptkit.model import build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe
from adaptkit.training import train

RECIPE = """\
schema = 1
name = "match"

[backbone]
model = "{model}"

[modality.question]
kind = "text"
route = "backbone"

[modality.caption]
kind = "features"
width = 4
pool = "mean"
route = "query"

[data]
format = "jsonl"
root = "{data}"

[task.match]
kind = "retrieval"
query = "caption"
column = "item"
width = 8

[train]
epochs = 60
batch_size = 16
optimizer = {{ name = "adamw", lr = 0.02 }}
"""
SIZES, COLORS, THINGS = ("big", "small"), ("red", "blue"), ("thing", "it")


@pytest.fixture(scope="module")
def recipe(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight items, each with a text and several captions: noisy vectors of what the text says."""
    folder = tmp_path_factory.mktemp("match")
    chance = random.Random(0)
    for split, captions in (("train", 4), ("validation", 2), ("test", 2)):
        lines = []
        for number in range(8 * captions):
            size, color, thing = number % 2, number // 2 % 2, number // 4 % 2
            text = f"is the {SIZES[size]} {COLORS[color]} {THINGS[thing]}"
            vector = [bit * 2 - 1 + chance.gauss(0, 0.1) for bit in (size, color, thing)]
            row = {"id": f"{split}{number}", "question": text, "caption": [*vector, 1.0], "item": f"video{number % 8}"}
            lines.append(json.dumps(row))
        chance.shuffle(lines)
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    path = folder / "match.toml"
    path.write_text(RECIPE.format(model=tiny_bert.as_posix(), data=folder.as_posix()))
    return path


@pytest.fixture(scope="module")
def run(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(load_recipe(recipe), runs=tmp_path_factory.mktemp("runs")).run


def test_queries_find_their_items(run: Path) -> None:
    found = evaluate(run, device="cpu").metrics["test"]
    assert found["n_gallery"] == 8
    assert found["q2g_r1"] > 0.6  # chance: 1/8
    assert found["g2q_r1"] > 0.5
    assert found["q2g_mnr"] < 2  # chance: 4.5
    assert found == json.loads((run / "summary.json").read_text())["metrics"]["test"]


def test_ranks_do_not_depend_on_batches(run: Path) -> None:
    """What is measured is the whole gallery; only the loss is one of batches."""
    one, other = (evaluate(run, splits=["test"], batch_size=size, device="cpu").metrics["test"] for size in (3, 16))
    assert {k: v for k, v in one.items() if k != "loss"} == {k: v for k, v in other.items() if k != "loss"}


def test_predictions_name_items(run: Path, recipe: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (run / "predictions" / "test.jsonl").read_text().splitlines()]
    assert len(lines) == 16
    right = sum(line["items"][0] == line["target"] for line in lines)
    assert right == pytest.approx(16 * evaluate(run, splits=["test"], device="cpu").metrics["test"]["q2g_r1"])
    assert sorted(lines[0]["items"]) == [f"video{number}" for number in range(8)]
    for name in ("out.jsonl", "out.parquet"):
        assert predict(run, recipe.parent / "test.jsonl", tmp_path / name, batch_size=5) == 16
    (first, *_) = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(first["items"]) == 10  # of the 16 samples of the file
    assert set(first["items"]) <= {f"test{number}" for number in range(16)}


def test_memory_is_searched_as_a_whole(run: Path, recipe: Path, tmp_path: Path) -> None:
    """Whatever the batches; the first prediction needs the last sample."""
    predict(run, recipe.parent / "test.jsonl", tmp_path / "out.jsonl", batch_size=5, device="cpu")
    rows = [json.loads(line) for line in (recipe.parent / "test.jsonl").read_text().splitlines()]
    model, read = load_artifact(run), []
    found = model.predict_iter((read.append(row["id"]) or row for row in rows), batch_size=5)
    assert next(found) == json.loads((tmp_path / "out.jsonl").read_text().partition("\n")[0])
    assert len(read) == 16
    assert model.predict(rows, batch_size=5)[1:] == list(found)
    assert model.predict([]) == []


def test_parameters_are_counted(recipe: Path) -> None:
    plan = make_plan(load_recipe(recipe))
    model = build_model(plan)
    assert plan.parameters.heads == (16 * 8 + 8) + (4 * 8 + 8) + 1
    assert sum(p.numel() for p in model.heads.parameters()) == plan.parameters.heads
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == plan.parameters.trainable


def test_a_query_is_no_part_of_the_item(recipe: Path) -> None:
    model = build_model(make_plan(load_recipe(recipe)))
    encoders = dict(model.named_encoders())
    texts = encoders["question"].collate(["is it red", "is it blue"], ["a", "b"])
    captions = [encoders["caption"].prepare(value, "here") for value in ([1, 2, 3, 4], [0, 1, 0, 2])]
    one, other = (
        model({"question": texts, "caption": encoders["caption"].collate(given, ["a", "b"])})["match"]
        for given in (captions, captions[::-1])
    )
    torch.testing.assert_close(one[:, 8:], other[:, 8:])
    torch.testing.assert_close(one[:, :8], other[:, :8].flip(0))
    assert droppable(model.plan) == ()


def test_a_query_cannot_be_dropped(run: Path) -> None:
    with pytest.raises(UsageError, match="'caption' is the query of a task and cannot be dropped"):
        evaluate(run, drop=["caption"])
