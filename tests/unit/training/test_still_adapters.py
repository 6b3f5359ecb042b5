"""A training says when an adapter does nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adaptkit.recipe import load_recipe
from adaptkit.training import Callback, train
from adaptkit.training.callbacks import Validated
from adaptkit.training.checkpoint import load_best
from adaptkit.training.notes import still_notes, typical


class Listening(Callback):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.changes: list[Any] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def validated(self, event: Validated) -> None:
        self.changes.append(event.changes)


def trained(recipe: Path, runs: Path, *sets: str) -> tuple[Any, Listening, list[Any]]:
    told = Listening()
    result = train(load_recipe(recipe, sets), runs=runs, callbacks=[told])
    lines = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    return result, told, [line for line in lines if line["kind"] == "adapters"]


def test_one_that_stays_the_identity_is_named_at_the_end(tiny_recipe: Path, tmp_path: Path) -> None:
    result, told, lines = trained(tiny_recipe, tmp_path, "train.optimizer.lr=1e-9")
    (note,) = [text for text in told.notes if "fuse" in text]
    assert note.startswith(
        "adapter fuse does next to nothing: it changes the stream by less than 0.001 of its size at 2 of its 2 places"
    )
    assert "at backbone.encoder.layer." in note
    assert note in result.warnings
    assert [line["epoch"] for line in lines] == [1, 2]
    assert [line["change"] for line in lines] == told.changes
    places = lines[-1]["places"]["fuse"]
    assert list(places) == [f"backbone.encoder.layer.{layer}.output.dense" for layer in (0, 1)]
    assert all(0 <= ratio < 1e-3 for ratio in places.values())


def test_one_that_acts_is_not(tiny_recipe: Path, tmp_path: Path) -> None:
    result, told, lines = trained(tiny_recipe, tmp_path)
    assert not [text for text in told.notes if "next to nothing" in text]
    assert lines[-1]["change"] == typical(lines[-1]["places"])
    assert lines[-1]["change"]["fuse"] > 1e-3
    best = load_best(result.run / "checkpoints").changes
    assert best in [line["places"] for line in lines], "what is saved is the change in the best state"


def test_every_adapter_has_its_own_line_and_a_recipe_without_any_has_none(tiny_recipe: Path, tmp_path: Path) -> None:
    text = tiny_recipe.read_text()
    lora = '[adapter.lora]\nkind = "lora"\nat = ["attn.q"]\nrank = 2\n\n[data]'
    tiny_recipe.write_text(text.replace("[data]", lora))
    _, _, lines = trained(tiny_recipe, tmp_path, "train.epochs=1")
    assert set(lines[0]["change"]) == {"fuse", "lora"}
    plain = text[: text.index("[modality.features]")] + text[text.index("[data]") :]
    tiny_recipe.write_text(plain.replace("[modality.question]", 'train = ["bias"]\n\n[modality.question]'))
    assert trained(tiny_recipe, tmp_path, "train.epochs=1", "name='plain'")[2] == []


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ({"a": 2e-4, "b": 0.5, "c": 5e-4}, "of its size at 2 of its 3 places (2.0e-04 at a)."),
        ({"a": 0.0}, "of its size at its place (0.0e+00 at a)."),
        ({"a": None, "b": 0.1}, ""),
    ],
)
def test_the_note(places: dict[str, float | None], expected: str) -> None:
    told = "".join(still_notes({"x": places}))
    assert told.endswith(expected)
    assert bool(told) == bool(expected)


def test_the_typical_place() -> None:
    found = typical({"x": {"a": 3.0, "b": 4.0, "c": None}, "y": {"a": None}})
    assert found == {"x": pytest.approx((25 / 2) ** 0.5), "y": None}
