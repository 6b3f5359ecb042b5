"""`model.predict`: plain dicts in memory give, to the bit, what `adaptkit predict` writes for files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import adaptkit as ak
from adaptkit.errors import DataError, RecipeError, UsageError
from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe

GOOD = {"question": "is it red ?", "features": [0, 1, 0, 1]}


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> AdaptedModel:
    return ak.load_artifact(tiny_run)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("size", [None, 1, 5, 100])
def test_memory_equals_files(
    model: AdaptedModel, tiny_run: Path, tiny_data: Path, tmp_path: Path, size: int | None
) -> None:
    """With the targets in the dicts, as a file has them; what the recipe does not name, memory refuses."""
    ak.predict(tiny_run, tiny_data / "test.jsonl", tmp_path / "out.jsonl", batch_size=size, device="cpu")
    rows = [{k: v for k, v in row.items() if k != "amount"} for row in rows_of(tiny_data / "test.jsonl")]
    assert model.predict(rows, batch_size=size) == rows_of(tmp_path / "out.jsonl")


def test_samples_are_named_by_index_or_id(model: AdaptedModel) -> None:
    found = model.predict([GOOD, {**GOOD, "id": "mine"}, {**GOOD, "id": 7}, {**GOOD, "id": None}])
    assert [line["id"] for line in found] == ["0", "mine", "7", "3"]
    assert model.predict([]) == []


@pytest.mark.parametrize("wrap", [np.array, torch.tensor, lambda v: torch.tensor(v).bfloat16(), tuple], ids=str)
def test_vectors_in_any_form(model: AdaptedModel, wrap: Any) -> None:
    other = {**GOOD, "features": wrap([0.0, 1.0, 0.0, 1.0])}
    assert model.predict([other]) == model.predict([GOOD])
    if isinstance(other["features"], torch.Tensor):
        other["features"].requires_grad_()
        assert model.predict([other]) == model.predict([GOOD])


def test_a_generator_is_read_a_batch_at_a_time(model: AdaptedModel) -> None:
    read: list[int] = []

    def samples() -> Iterator[dict[str, Any]]:
        for index in range(5):
            read.append(index)
            yield {**GOOD, "id": index}

    found = model.predict_iter(samples(), batch_size=2)
    assert read == []
    assert next(found)["id"] == "0"
    assert read == [0, 1]
    assert [line["id"] for line in found] == ["1", "2", "3", "4"]


def test_modes_and_gradients_are_as_before(model: AdaptedModel) -> None:
    expected = model.predict([GOOD])
    model.train()
    model.heads.eval()
    modes = [module.training for module in model.modules()]
    assert model.predict([GOOD]) == expected  # no dropout
    assert modes == [module.training for module in model.modules()]
    for _ in model.predict_iter([GOOD]):
        assert model.training  # between predictions, too
    with pytest.raises(DataError):
        model.predict([GOOD, {"question": 3}])
    assert modes == [module.training for module in model.modules()]
    model.eval()
    assert torch.is_grad_enabled()


def test_precision_is_the_recipes(model: AdaptedModel, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = ak.load_artifact(tiny_run)
    train = half.plan.recipe.train.model_copy(update={"precision": "bf16"})
    recipe = half.plan.recipe.model_copy(update={"train": train})
    monkeypatch.setattr(half, "plan", dataclasses.replace(half.plan, recipe=recipe))
    found, exact = half.predict([GOOD])[0]["probabilities"], model.predict([GOOD])[0]["probabilities"]
    assert found != exact
    assert found == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({**GOOD, "feature": [1]}, r'sample 1  the recipe has no column \'feature\'. Did you mean "features"\?'),
        ({**GOOD, "id": "x", "zzz": 1}, r"sample x  the recipe has no column 'zzz'. Known: features, question"),
        ({**GOOD, 3: 1}, r"sample 1  the recipe has no column 3"),
        ({"question": "?"}, r"sample 1  features is absent\. .*missing = "),
        ({"question": "?", "features": None}, r"sample 1  features is absent"),
        ({**GOOD, "question": 3}, r"sample 1  question is of type int, not text"),
        ({**GOOD, "features": [1, 2]}, r"sample 1  features has shape \(2,\); expected \(4,\)"),
        ({**GOOD, "features": "none.npy"}, r"sample 1  features: .*none\.npy"),
        ({**GOOD, "features": [0, 1, 0, float("nan")]}, r"sample 1  features has 1 values that are NaN"),
        ("is it red ?", r"sample 1  this is of type str, not a dict"),
    ],
)
def test_errors_name_sample_and_modality(model: AdaptedModel, sample: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        model.predict([GOOD, sample])


@pytest.mark.parametrize("samples", [GOOD, "is it red ?", 3])
def test_one_sample_is_no_list(model: AdaptedModel, samples: Any) -> None:
    with pytest.raises(UsageError, match=r"not several dicts\. Write \[sample\]"):
        model.predict(samples)


def test_what_a_model_needs_to_predict(model: AdaptedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="batch size is 0"):
        model.predict([GOOD], batch_size=0)
    with pytest.raises(UsageError, match="built without weights"):
        build_model(model.plan, weights=False).predict([GOOD])
    monkeypatch.setattr(model, "plan", dataclasses.replace(model.plan, labels={}))
    with pytest.raises(RecipeError, match=r"task\.answer\.labels  labels are needed"):
        model.predict([GOOD])


def document(tiny_bert: Path) -> dict[str, Any]:
    """A picture that may be absent, a table, two tasks; columns with names of their own."""
    return {
        "schema": 1,
        "name": "films",
        "backbone": {"model": tiny_bert.as_posix()},
        "modality": {
            "plot": {"kind": "text", "route": "backbone", "column": "text"},
            "poster": {"kind": "image", "route": "side", "size": 4, "missing": "learned", "column": "file"},
            "facts": {
                "kind": "table",
                "route": "side",
                "columns": ["year"],
                "categorical": ["land"],
                "missing": "zero",
            },
        },
        "adapter": {"fuse": {"kind": "gmu", "at": ["mlp.out"], "sides": ["poster", "facts"], "bottleneck": 4}},
        "data": {"format": "jsonl", "root": "nowhere"},
        "task": {
            "good": {"kind": "classification", "labels": ["no", "yes"], "column": "verdict"},
            "genres": {"kind": "multilabel", "labels": ["crime", "war"]},
        },
    }


@pytest.fixture(scope="module")
def films(tiny_bert: Path) -> AdaptedModel:
    """As if trained: every new parameter random, so that each modality matters."""
    made = build_model(make_plan(parse_recipe(document(tiny_bert))))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in made.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.5)
    table: Any = made.encoders["facts"]
    table.fit([table.collate([table.prepare(facts, "") for facts in ((1990, "fr"), (2000, "us"))], [])])
    return made


def test_every_kind_of_value_equals_its_file(films: AdaptedModel, tmp_path: Path) -> None:
    pixels = np.arange(75, dtype=np.uint8).reshape(5, 5, 3) * 3
    path = tmp_path / "poster.png"
    Image.fromarray(pixels).save(path)
    facts = {"year": 1993, "land": "us"}
    rows = [
        {"text": "is it big ?", "file": "poster.png", **facts},
        {"text": "is it big ?", "file": None, **facts},
        {"text": "is it big ?", "file": "poster.png"},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    artifact = ak.save_artifact(films, tmp_path / "artifact")
    ak.predict(artifact, tmp_path / "in.jsonl", tmp_path / "out.jsonl", batch_size=1, device="cpu")
    whole, no_poster, no_facts = (
        {k: v for k, v in row.items() if k != "id"} for row in rows_of(tmp_path / "out.jsonl")
    )
    assert set(whole) == {"good", "genres"}
    assert len({json.dumps(line) for line in (whole, no_poster, no_facts)}) == 3

    def predicted(**sample: Any) -> dict[str, Any]:
        (found,) = films.predict([{"text": "is it big ?", **sample}])
        return {key: value for key, value in found.items() if key != "id"}

    forms = [path, str(path), path.read_bytes(), Image.open(path), pixels, torch.from_numpy(pixels), pixels.tolist()]
    for form in forms:
        assert predicted(file=form, **facts) == whole
    assert predicted(poster=path, facts=facts) == predicted(poster=path, facts=[1993, "us"]) == whole
    assert predicted(poster=path, year=np.float32(1993), land="us") == whole
    assert predicted(**facts) == predicted(poster=None, **facts) == no_poster
    assert predicted(file=path) == predicted(file=path, facts=None, verdict="yes", genres=[]) == no_facts


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"file": None, "poster": None}, "poster is given twice, once as 'poster'"),
        ({"year": 1, "facts": {"year": 1}}, "facts is given twice, once as 'facts'"),
        ({"facts": {"year": 1}, "land": "fr"}, "facts is given twice, once as 'land'"),
        ({"posters": None}, 'Did you mean "poster"'),
        ({"file": "poster.png"}, r"sample 0  poster: the file poster\.png does not exist"),
        ({"file": b"no picture"}, "sample 0  poster: the image is not a readable image"),
        ({"year": "long ago"}, r"sample 0  facts\.year is 'long ago', not a number"),
    ],
)
def test_columns_and_modalities_are_not_confused(films: AdaptedModel, sample: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        films.predict([{"text": "?", **sample}])


def test_a_name_that_is_a_column_too_means_the_column(tiny_bert: Path) -> None:
    swapped = document(tiny_bert)
    swapped["modality"]["plot"]["column"], swapped["modality"]["poster"]["column"] = "poster", "plot"
    made = build_model(make_plan(parse_recipe(swapped)))
    with pytest.raises(DataError, match="plot is of type int, not text"):
        made.predict([{"poster": 3, "plot": None, "year": 1}])


def test_dropped_modalities_are_ignored(tiny_bert: Path) -> None:
    lacking = document(tiny_bert)
    lacking["data"]["drop"] = ["poster"]
    made = build_model(make_plan(parse_recipe(lacking)))
    made.encoders["facts"].fit(  # type: ignore[operator]
        [{"numbers": torch.ones(1, 1), "codes": torch.ones(1, 1, dtype=torch.long), "present": torch.ones(1).bool()}]
    )
    assert made.predict([{"text": "?", "file": "nowhere.png"}]) == made.predict([{"text": "?"}])
