"""The order of an epoch is a function of seed and epoch, whichever sampler gives it."""

from __future__ import annotations

from collections import Counter
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.errors import Interrupted, RecipeError
from adaptkit.formats import load_data
from adaptkit.model import build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe
from adaptkit.training import Callback, train
from adaptkit.training.callbacks import StepDone
from adaptkit.training.interrupt import StopRequested
from adaptkit.training.samplers import SAMPLERS, balanced, build_order, sequential, shuffle


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 2**32), st.integers(0, 1000))
def test_it_is_a_permutation_and_repeats(n: int, seed: int, epoch: int) -> None:
    order = shuffle(n, seed, epoch)
    assert sorted(order.tolist()) == list(range(n))
    assert np.array_equal(order, shuffle(n, seed, epoch))


def test_epochs_and_seeds_differ() -> None:
    orders = [shuffle(50, seed, epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9


def test_it_does_not_touch_the_global_generator() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()  # type: ignore[index]
    shuffle(10, 0, 0)
    balanced(10, 0, 0, targets={"x": list("aaaaaaaaab")})
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]


def test_sequential() -> None:
    assert sequential(4, 1, 2).tolist() == [0, 1, 2, 3]


LABELS = st.lists(st.sampled_from(["a", "b", "c", 3, True]), min_size=1, max_size=60)


@settings(deadline=None)
@given(LABELS, st.integers(0, 5), st.integers(0, 5))
def test_balanced_draws_every_label_equally_often(labels: list[Any], seed: int, epoch: int) -> None:
    order = balanced(len(labels), seed, epoch, targets={"x": labels})
    assert np.array_equal(order, balanced(len(labels), seed, epoch, targets={"x": labels}))
    drawn = Counter(labels[index] for index in order)
    counts = [drawn[label] for label in set(labels)]
    assert sum(counts) == len(labels)
    assert max(counts) - min(counts) <= 1


def test_balanced_draws_from_all_samples_of_a_label() -> None:
    labels = ["often"] * 90 + ["rare"] * 10
    drawn = {index for epoch in range(40) for index in balanced(100, 0, epoch, targets={"x": labels}).tolist()}
    assert drawn == set(range(100))


@pytest.mark.parametrize(
    ("targets", "task", "expected"),
    [
        ({"x": [0.5, 1.5]}, None, "one label per sample, and a sample of x has 0.5"),
        ({"x": [["a"], ["b"]]}, None, "one label per sample"),
        ({"x": ["a", "b"], "y": ["a", "b"]}, None, 'several tasks to balance. task = "x"'),
        ({"answer": ["a", "b"]}, "anser", "no task 'anser'. Did you mean \"answer\""),
    ],
)
def test_what_cannot_be_balanced(targets: dict[str, list[Any]], task: str | None, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        balanced(2, 0, 0, targets=targets, task=task)
    assert expected in str(caught.value)


def test_a_sampler_from_outside_may_ask_for_lengths(tiny_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptkit.training.samplers.SAMPLERS", registry := copy(SAMPLERS))

    @registry.register("by_length")
    def by_length(samples: int, seed: int, epoch: int, *, lengths: Any, modality: str) -> np.ndarray:
        return np.argsort(lengths[modality], kind="stable")

    registry.register("short")(lambda samples, seed, epoch: [0])
    recipe = load_recipe(tiny_recipe)
    model, samples = build_model(make_plan(recipe)), load_data(recipe).splits["train"]
    encoders = dict(model.named_encoders())
    order = build_order(samples, encoders, ["answer"], 0, name="by_length", modality="question")
    assert order(0) == list(range(44))  # all questions have six words
    with pytest.raises(RecipeError, match="did not give 44 indices"):
        build_order(samples, encoders, ["answer"], 0, name="short")(0)
    assert "short" not in SAMPLERS  # a copy is a registry of its own
    assert set(SAMPLERS) < set(registry)
    with pytest.raises(RecipeError, match=r"by_length has no keyword 'modalty'.*modality"):
        build_order(samples, encoders, ["answer"], 0, name="by_length", modalty="question")
    with pytest.raises(RecipeError, match=r"unknown sampler 'suffle'.*shuffle"):
        build_order(samples, encoders, ["answer"], 0, name="suffle")


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def step_done(self, event: StepDone) -> None:
        if event.step == self.step:
            raise StopRequested


def test_a_training_with_balanced_labels_resumes_exactly(tiny_recipe: Path, tmp_path: Path) -> None:
    recipe = load_recipe(tiny_recipe)
    shuffled = train(recipe, runs=tmp_path / "shuffled")
    recipe = load_recipe(tiny_recipe, ["train.sampler=balanced"])
    whole = train(recipe, runs=tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(recipe, runs=tmp_path / "runs", callbacks=[StopAt(8)])
    again = train(recipe, runs=tmp_path / "runs", resume=True)
    tensors = [(run.artifact / "adapter.safetensors").read_bytes() for run in (shuffled, whole, again)]
    assert tensors[0] != tensors[1]
    assert tensors[1] == tensors[2]
