"""From recipe to samples: columns become modalities and tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptkit.errors import DataError
from adaptkit.formats import load_data, load_samples
from adaptkit.recipe import Recipe, load_recipe

RECIPE = """\
schema = 1
name = "films"

[backbone]
model = "bert-base"

[modality.plot]
kind = "text"
route = "backbone"
column = "synopsis"

[modality.poster]
kind = "features"
width = 2
route = "side"
missing = "{missing}"

[adapter.fuse]
kind = "gmu"
at = ["mlp.out"]
sides = ["poster"]

[data]
format = "jsonl"

[task.genres]
kind = "multilabel"
column = "label"
"""

ROWS = (
    {"id": "a", "synopsis": "a film", "poster": [0.0, 1.0], "label": ["drama"]},
    {"id": "b", "synopsis": "another", "label": []},
)


def recipe(folder: Path, *, missing: str) -> Recipe:
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "films.toml").write_text(RECIPE.format(missing=missing))
    return load_recipe(folder / "films.toml")


def test_columns_become_modalities_and_tasks(tmp_path: Path) -> None:
    data = load_data(recipe(tmp_path, missing="zero"))
    assert list(data.splits) == ["train", "validation", "test"]
    first, second = data.splits["train"]
    assert first.inputs == {"plot": "a film", "poster": [0.0, 1.0]}
    assert first.targets == {"genres": ["drama"]}
    assert second.inputs["poster"] is None
    assert second.place == "train.jsonl:2 (sample b)"
    assert data.hash.startswith("sha256:")
    assert "train 2" in data.description


def test_an_absent_modality_is_an_error_unless_the_recipe_says_what_stands_in(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.jsonl:2  poster is absent"):
        load_data(recipe(tmp_path, missing="error"))


def test_samples_for_prediction_need_no_targets(tmp_path: Path) -> None:
    spec = recipe(tmp_path, missing="zero")
    path = tmp_path / "new.jsonl"
    path.write_text('{"synopsis": "new", "poster": [1, 2]}\n')
    (sample,) = load_samples(spec, path)
    assert sample.inputs["plot"] == "new"
    assert sample.targets == {}


@pytest.mark.parametrize("name", ["quickstart", "quickstart_wander", "quickstart_bottleneck", "quickstart_lora"])
def test_the_bundled_recipes_read_their_data(name: str) -> None:
    data = load_data(load_recipe(name))
    assert list(data.splits) == ["train", "validation", "test", "test_unseen"]
    assert set(data.splits["train"][0].inputs) == {"question", "image"}
    assert {sample.targets["answer"] for sample in data.splits["test"]} == {"yes", "no"}
